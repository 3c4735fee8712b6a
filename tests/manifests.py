"""The Kubernetes manifests of the documents, and the pods in them."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
MANIFESTS: dict[str, Any] = {
    f"{manifest['kind']} {manifest['metadata']['name']}": manifest
    for path in sorted((ROOT / "docs" / "kubernetes").glob("*.yml"))
    for manifest in yaml.safe_load_all(path.read_text())
}
PODS = {
    name: manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    for name, manifest in MANIFESTS.items()
    if manifest["kind"] in ("Job", "Pod")
}
