"""What `nox -s lint` runs; .pre-commit-config.yaml runs the same."""

from workspace import ROOT

__all__ = ["commands"]

# Files that others read, with the schema that check-jsonschema has of each.
_SCHEMAS = {
    "vendor.citation-file-format": "CITATION.cff",
    "vendor.dependabot": ".github/dependabot.yml",
    "vendor.github-issue-config": ".github/ISSUE_TEMPLATE/config.yml",
    "vendor.github-issue-forms": ".github/ISSUE_TEMPLATE/[!c]*.yml",
    "vendor.github-workflows": ".github/workflows/*.yml",
    "custom.github-workflows-require-timeout": ".github/workflows/*.yml",
}


def commands() -> list[str]:
    """Every command, from the quickest to the slowest."""
    found = ["ruff check .", "ruff format --check ."]
    for schema, pattern in _SCHEMAS.items():
        files = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob(pattern))
        found.append(f"check-jsonschema --builtin-schema {schema} {' '.join(files)}")
    return [*found, "pre-commit validate-config", "lint-imports", "pyright"]
