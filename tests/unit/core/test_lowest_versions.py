"""What bench.doctor asks for is what pyproject.toml allows."""

from support.lowest import lowest

from bench.machine.software import REQUIRED_PACKAGES


def test_the_doctor_knows_the_lower_bounds():
    bounds = lowest()
    for package, least in REQUIRED_PACKAGES.items():
        if package != "torch":
            assert tuple(map(int, bounds[package].split(".")[:2])) == least, package
