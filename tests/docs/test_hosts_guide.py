"""What the guide to several hosts hands out does what it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

GUIDE = Path(__file__).resolve().parents[2] / "docs/hosts"
ADDRESSES = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}


@pytest.mark.req("S2")
def test_certificates_are_good_for_both_sides_of_a_connection(tmp_path: Path) -> None:
    argv = [str(GUIDE / "certificates.sh"), *(f"{name}={address}" for name, address in ADDRESSES.items())]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    for name, address in ADDRESSES.items():
        for purpose in ("sslserver", "sslclient"):
            checks = ["-CAfile", "ca.pem", "-purpose", purpose, "-verify_ip", address, f"{name}.pem"]
            subprocess.run(["openssl", "verify", *checks], cwd=tmp_path, check=True, capture_output=True)
        assert (tmp_path / f"{name}.key").stat().st_mode & 0o077 == 0


def test_the_unit_and_the_containers_start_etcd_in_the_same_way() -> None:
    unit = (GUIDE / "etcd.service").read_text().replace("\\\n", " ")
    words = re.search(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    assert words is not None
    of_unit = re.sub(r"(--\S+) (?!--)", r"\1=", words[1]).split()
    compose = yaml.safe_load((GUIDE / "compose.yaml").read_text())
    of_containers = compose["services"]["etcd"]["command"][1:]
    places = {"/etc/etcd/": "/tls/", "/var/lib/etcd/data": "/data"}
    for here, there in places.items():
        of_unit = [word.replace(here, there) for word in of_unit]
    assert sorted(of_unit) == sorted(of_containers)
