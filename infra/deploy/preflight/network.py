"""The subnets of the agents' tasks: whether an image can be pulled there, and the agents' endpoint be reached."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import boto3

from infra.deploy.plan import Found
from infra.deploy.preflight.findings import Finding, ok, problem, warning

#: Zones with Fargate, of the regions where not all have it (ECS Developer Guide, "Supported Regions for Amazon ECS on
#: AWS Fargate").
ZONES_WITH_FARGATE = {
    "us-west-1": {"usw1-az1", "usw1-az3"},
    "ap-northeast-1": {"apne1-az1", "apne1-az2", "apne1-az4"},
    "cn-north-1": {"cnn1-az1", "cnn1-az2"},
}

#: How many subnets and security groups a task may name (ECS API Reference, "AwsVpcConfiguration").
MAX_SUBNETS, MAX_SECURITY_GROUPS = 16, 5

#: With so few free addresses a subnet is soon full: each task takes one.
FEW_ADDRESSES = 16

_EVERYWHERE = "0.0.0.0/0"


@dataclasses.dataclass(frozen=True)
class Network:
    """Where agents are to run."""

    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] = ()
    public_ip: bool = True


def wanted(found: Found, *, subnets: str, security_groups: str, public_ip: bool | None) -> Network:
    """Return the network that is asked for, or that the stage has, or that a new one would get."""
    before = found.outputs
    public = before.get("AssignPublicIp", "true") == "true" if public_ip is None else public_ip
    named = tuple(filter(None, (subnets or before.get("Subnets", "")).split(",")))
    groups = tuple(filter(None, security_groups.split(",")))
    return Network(named or found.default_subnets, groups, public)


def check(session: boto3.Session, found: Found, network: Network) -> Iterator[Finding]:
    """Judge the subnets, what routes lead out of them, and the security groups."""
    if not network.subnets:
        yield problem("subnets", f"{found.region} has no default VPC with public subnets: name the agents' (--subnets)")
        return
    ec2 = session.client("ec2")
    # A filter, unlike SubnetIds, leaves out what is not there.
    subnets = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": list(network.subnets)}])["Subnets"]
    if lost := sorted(set(network.subnets) - {each["SubnetId"] for each in subnets}):
        yield problem("subnets", f"{', '.join(lost)} are not there")
        return
    yield from judged_subnets(subnets, found.region)
    vpc = subnets[0]["VpcId"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    yield from judged_routes(network, tables)
    if network.security_groups:
        asked = [{"Name": "group-id", "Values": list(network.security_groups)}]
        groups = ec2.describe_security_groups(Filters=asked)["SecurityGroups"]
        yield from judged_groups(network, groups, vpc)


def judged_subnets(subnets: Sequence[Mapping[str, Any]], region: str) -> Iterator[Finding]:
    """Judge subnets as EC2 describes them."""
    vpcs = sorted({each["VpcId"] for each in subnets})
    if len(vpcs) > 1:
        yield problem("subnets", f"they are of {len(vpcs)} VPCs ({', '.join(vpcs)}): name those of one")
    if len(subnets) > MAX_SUBNETS:
        yield problem("subnets", f"{len(subnets)} are named, and ECS takes {MAX_SUBNETS}")
    if without := [each["SubnetId"] for each in subnets if not has_fargate(each, region)]:
        yield problem("subnets", f"{', '.join(without)} are in zones without Fargate: leave them out")
    free = sum(each["AvailableIpAddressCount"] for each in subnets)
    text = f"{len(subnets)} in {', '.join(vpcs)}, with {free:,} free addresses; each running agent takes one"
    yield (warning if free < FEW_ADDRESSES else ok)("subnets", text)


def has_fargate(subnet: Mapping[str, Any], region: str) -> bool:
    """Return whether a subnet is in a zone with Fargate; local zones, whose names have more letters, are not."""
    zones = ZONES_WITH_FARGATE.get(region)
    in_region = len(subnet.get("AvailabilityZone", f"{region}a")) == len(region) + 1
    return in_region and (zones is None or subnet["AvailabilityZoneId"] in zones)


def judged_routes(network: Network, tables: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Judge where the default route of each subnet leads, by the route tables of the VPC."""
    gateways = {subnet: _way_out(subnet, tables) for subnet in network.subnets}
    closed = sorted(subnet for subnet, gateway in gateways.items() if not gateway)
    if closed:
        text = (
            f"no default route leads out of {', '.join(closed)}: agents cannot reach their endpoint, which is public. "
            "Endpoints of the VPC are enough for images and logs alone; --private needs a NAT gateway"
        )
        yield problem("routes", text)
    internet = sorted(subnet for subnet, gateway in gateways.items() if gateway.startswith("igw-"))
    if internet and not network.public_ip:
        text = f"{', '.join(internet)} lead to an internet gateway, which takes nobody without a public address along"
        yield problem("routes", f"{text}: leave out --private, or name subnets behind a NAT gateway")
    behind = sorted(subnet for subnet, gateway in gateways.items() if gateway and not gateway.startswith("igw-"))
    if behind and network.public_ip:
        yield warning(
            "routes", f"{', '.join(behind)} have no internet gateway: public addresses do nothing (--private)"
        )
    if foreign := sorted({gateways[each] for each in behind if not gateways[each].startswith("nat-")}):
        yield warning("routes", f"they lead out by {', '.join(foreign)}, which may or may not reach the internet")
    if not closed and not (internet and not network.public_ip):
        yield ok("routes", f"agents get out by {', '.join(sorted(set(gateways.values())))}")


def _way_out(subnet: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """Return where a subnet's default route leads, by its own route table or the VPC's main one; empty for nowhere."""
    own = [t for t in tables if any(each.get("SubnetId") == subnet for each in t["Associations"])]
    main = [t for t in tables if any(each.get("Main") for each in t["Associations"])]
    for route in (route for table in (own or main)[:1] for route in table["Routes"]):
        if route.get("DestinationCidrBlock") == _EVERYWHERE and route.get("State", "active") == "active":
            targets = ("NatGatewayId", "GatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId")
            return str(next((route[each] for each in targets if each in route), "another target"))
    return ""


def judged_groups(network: Network, groups: Sequence[Mapping[str, Any]], vpc: str) -> Iterator[Finding]:
    """Judge the security groups that are named."""
    subject = "security groups"
    if lost := sorted(set(network.security_groups) - {each["GroupId"] for each in groups}):
        yield problem(subject, f"{', '.join(lost)} are not there")
    if foreign := sorted(each["GroupId"] for each in groups if each["VpcId"] != vpc):
        yield problem(subject, f"{', '.join(foreign)} are not of {vpc}, the VPC of the subnets")
    if len(network.security_groups) > MAX_SECURITY_GROUPS:
        yield problem(subject, f"{len(network.security_groups)} are named, and ECS takes {MAX_SECURITY_GROUPS}")
    if groups and not any(_lets_https_out(rule) for each in groups for rule in each["IpPermissionsEgress"]):
        yield problem(subject, "none lets anything out on port 443: agents can neither be pulled nor reach anybody")
    else:
        yield ok(subject, ", ".join(network.security_groups))


def _lets_https_out(rule: Mapping[str, Any]) -> bool:
    https = rule["IpProtocol"] == "-1" or (rule["IpProtocol"] == "tcp" and rule["FromPort"] <= 443 <= rule["ToPort"])
    return https and bool(rule.get("IpRanges") or rule.get("PrefixListIds") or rule.get("Ipv6Ranges"))
