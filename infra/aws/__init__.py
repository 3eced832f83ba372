"""Atoll on AWS: its templates as CloudFormation takes them, the Chalice project of a stage, and how both get there."""
