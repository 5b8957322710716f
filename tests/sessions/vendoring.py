"""A made-up project that holds copies of packages instead of installing them."""

import shutil
from pathlib import Path

from workspace import ROOT, closure


def copy_packages(packages: tuple[str, ...], project: Path) -> None:
    """Makes the project anew, with the packages in it under one or two names."""
    shutil.rmtree(project, ignore_errors=True)
    rubbish = shutil.ignore_patterns("__pycache__")
    for package in packages:
        source = ROOT / "packages" / package / "src" / "batiste" / package
        # Under its own name, with `_vendor` on the path: any package can be there.
        target = project / "_vendor" / "batiste" / package
        shutil.copytree(source, target, ignore=rubbish)
        if closure(package) == [package]:
            # As a part of the project's own package: one that needs no other.
            target = project / "madeup" / "_vendor" / package
            shutil.copytree(source, target, ignore=rubbish)
