"""Checks every call of AWS that tests make, beyond what moto checks: the services' models, and what AWS documents.

A call that AWS would refuse fails the test during which it was made, from whichever thread. It is made all the same, so
that the code under test behaves as ever. A test that makes such calls on purpose says so:
``@pytest.mark.refused_by_aws("startedBy")``, with a pattern of what is wrong with them.
"""
