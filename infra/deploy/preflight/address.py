"""The one address of a stage: its certificate, its domain, and its web ACL."""

import dataclasses
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import boto3

from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem, warning
from infra.deploy.stacks import Stacks

#: Where CloudFront looks for certificates and web ACLs, wherever the stage is.
REGION = "us-east-1"

#: The keys of certificates that CloudFront takes (its Developer Guide, "Supported key types").
KEYS = {"RSA_1024", "RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1"}

#: What CloudFront's own names of distributions end with.
OWN_NAMES = ".cloudfront.net"


@dataclasses.dataclass(frozen=True)
class Address:
    """The address of a stage as it will be; ``host`` is CloudFront's name of the one that there is."""

    domain: str = ""
    certificate: str = ""
    web_acl: str = ""
    host: str = ""


def wanted(session: boto3.Session, stage: str, *, asked: Mapping[str, str]) -> Address:
    """Return the address that is asked for, by the parameters of its template, or that the stage has."""
    stacks, stack = Stacks(session, stage), f"atoll-{stage}-address"
    values = {**stacks.parameters(stack), **asked}
    return Address(
        values.get("DomainName", ""),
        values.get("CertificateArn", ""),
        values.get("WebAclArn", ""),
        stacks.outputs(stack).get("AddressHost", ""),
    )


def check(session: boto3.Session, found: Found, stage: str, asked: Mapping[str, str]) -> Iterator[Finding]:
    """Look for what would make CloudFront refuse a domain or a web ACL, for a stage that has one or asks for one."""
    address = wanted(session, stage, asked=asked)
    if bool(address.domain) != bool(address.certificate):
        yield problem("certificate", "--domain and --certificate go together: CloudFront takes none without the other")
    elif address.domain:
        yield from _certificate(session, found, address)
        yield _domain(session, address)
    if address.web_acl:
        yield _web_acl(session, found, address.web_acl)


def _certificate(session: boto3.Session, found: Found, address: Address) -> Iterator[Finding]:
    subject, arn = "certificate", address.certificate
    place = f"arn:{found.partition}:acm:{REGION}:{found.account}:certificate/"
    if not arn.startswith(place):
        yield problem(subject, f"{arn} is not one of this account in {REGION}, where CloudFront looks for it: {place}…")
        return
    client = session.client("acm", region_name=REGION)
    try:
        certificate = client.describe_certificate(CertificateArn=arn)["Certificate"]
    except client.exceptions.ResourceNotFoundException:
        yield problem(subject, f"{arn} is not there")
        return
    problems = list(judged_certificate(certificate, address.domain))
    yield from (problem(subject, text) for text in problems)
    if not problems:
        yield ok(subject, f"it is issued, for {', '.join(_names(certificate))}")


def judged_certificate(certificate: Mapping[str, Any], domain: str) -> Iterator[str]:
    """Yield why CloudFront would not take a certificate for a domain, by what ACM says of it."""
    if certificate["Status"] != "ISSUED":
        yield f"it is {certificate['Status']}: CloudFront takes one that is ISSUED"
    if not any(covers(name, domain) for name in _names(certificate)):
        yield f"it is for {', '.join(_names(certificate))}, not for {domain}"
    if certificate.get("KeyAlgorithm", "RSA_2048") not in KEYS:
        yield f"its key is {certificate['KeyAlgorithm']}: CloudFront takes {', '.join(sorted(KEYS))}"


def _names(certificate: Mapping[str, Any]) -> Sequence[str]:
    return certificate.get("SubjectAlternativeNames") or [certificate["DomainName"]]


def covers(name: str, domain: str) -> bool:
    """Return whether a name of a certificate, or of a distribution, is that of a domain; a star is one part of it."""
    return name.lower() == domain or (name.startswith("*.") and name[2:].lower() == domain.partition(".")[2])


def _domain(session: boto3.Session, address: Address) -> Finding:
    subject = "domain"
    hosts = set()
    for page in session.client("cloudfront").get_paginator("list_distributions").paginate():
        for each in page["DistributionList"].get("Items", []):
            hosts.add(each["DomainName"])
            # A star of this account's may stand beside it; the same name may not.
            if address.domain in each["Aliases"].get("Items", []) and each["DomainName"] != address.host:
                text = f"the distribution {each['Id']} ({each['Comment'] or each['DomainName']}) has {address.domain}"
                return problem(subject, f"{text}, and CloudFront gives a name to one alone: take it from there")
    leads_to = canonical_name(address.domain)
    if not leads_to.endswith(OWN_NAMES) or leads_to == address.host:
        record = f"a CNAME to {address.host}" if address.host else "a CNAME to the output AddressHost"
        return ok(subject, f"no distribution of this account has {address.domain}; its DNS record is {record}")
    if leads_to in hosts:
        return warning(
            subject, f"{address.domain} leads to {leads_to}, another distribution of this account: change it"
        )
    text = f"{address.domain} leads to {leads_to}, a distribution of another account"
    return warning(subject, f"{text}: CloudFront refuses it for as long as that one has it")


def canonical_name(domain: str) -> str:
    """Return the name that a domain's DNS record leads to; empty when it has none."""
    try:
        return socket.gethostbyname_ex(domain)[0].rstrip(".").lower()
    except OSError:
        return ""


def _web_acl(session: boto3.Session, found: Found, arn: str) -> Finding:
    subject = "web ACL"
    place = f"arn:{found.partition}:wafv2:{REGION}:{found.account}:global/webacl/"
    named = re.fullmatch(re.escape(place) + "([^/]+)/([0-9a-f-]{36})", arn)
    if named is None:
        return problem(subject, f"{arn} is none of this account with the scope CLOUDFRONT: {place}NAME/ID")
    client = session.client("wafv2", region_name=REGION)
    try:
        client.get_web_acl(Name=named[1], Scope="CLOUDFRONT", Id=named[2])
    except client.exceptions.WAFNonexistentItemException:
        return problem(subject, f"{named[1]} is not there: {arn}")
    return ok(subject, f"{named[1]} is there")
