"""Pods of Kubernetes by hand: each an address of its own, its volumes, its init containers and then its container, as docker's.

What a cluster decides (where pods run, when they are started again, who reaches whom) is not shown by it; what the manifests say
of users, rights, folders, keys and commands is.
"""

import subprocess
from typing import Any


def docker(*words: str, feed: str = "", seconds: float = 60.0) -> str:
    """What `docker WORDS` prints, which must succeed."""
    done = subprocess.run(["docker", *words], input=feed, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout.strip()


class Kubelet:
    """Runs pods in a network and with volumes of its own, of which `clear` leaves nothing."""

    def __init__(self, name: str, image: str) -> None:
        self._image, self._label, self._shared = image, f"decoupled.test={name}", dict[str, str]()
        self._name = name
        docker("network", "create", "--internal", "--label", self._label, name)

    def secret(self, name: str, text: dict[str, str], group: int) -> None:
        """Files as a Secret's volume with defaultMode 0440 has them: root's, and readable by the pod's group."""
        volume = self._shared[name] = self._volume(f"secret-{name}")
        for file, content in text.items():
            write = f"cat >/secret/{file}; chmod 440 /secret/{file}; chgrp {group} /secret/{file}"
            docker("run", "--rm", "-i", "--user", "0", "-v", f"{volume}:/secret", self._image, "sh", "-euc", write, feed=content)

    def start(self, name: str, pod: Any, service: str = "") -> str:
        """Starts a pod, and gives its container's name; the pod is known to the others by its service's."""
        alias = ["--network-alias", service] if service else []
        pause = f"{self._name}-{name}"
        docker("run", "-d", "--name", pause, "--network", self._name, *alias, "--label", self._label, self._image, "sleep", "1d")
        address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", pause)
        spec = pod["spec"]
        group = spec["securityContext"]["fsGroup"]
        volumes = {volume["name"]: self._mounted(f"{name}-{volume['name']}", volume, group) for volume in spec["volumes"]}
        base = ["--network", f"container:{pause}", "--user", f"{spec['securityContext']['runAsUser']}:{group}"]
        for one in spec.get("initContainers", []):
            docker("run", "--rm", *base, *self._words(one, volumes, address))
        (main,) = spec["containers"]
        restart = "on-failure" if spec["restartPolicy"] == "OnFailure" else "no"
        docker("run", "-d", "--name", f"{pause}-main", "--restart", restart, *base, *self._words(main, volumes, address))
        return f"{pause}-main"

    def _mounted(self, name: str, volume: Any, group: int) -> str:
        """The volume of docker that stands for one of a pod; whoever has the pod's group can write to it, as with fsGroup."""
        if "secret" in volume:
            return self._shared[volume["secret"]["secretName"]]
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim in self._shared:
            return self._shared[claim]
        made = self._volume(name)
        open_it = f"chgrp {group} /new; chmod 2775 /new"
        docker("run", "--rm", "--user", "0", "-v", f"{made}:/new", self._image, "sh", "-euc", open_it)
        if claim is not None:
            self._shared[claim] = made
        return made

    def _words(self, container: Any, volumes: dict[str, str], address: str) -> list[str]:
        """What `docker run` is told of a container."""
        said = ["--label", self._label, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
        said += ["--cpus", container["resources"]["limits"]["cpu"], "--memory", container["resources"]["limits"]["memory"][:-1]]
        for mount in container["volumeMounts"]:
            from_to = f"src={volumes[mount['name']]},dst={mount['mountPath']}"
            said += ["--mount", f"type=volume,volume-nocopy,{from_to},readonly={mount.get('readOnly', False)}"]
        known = {one["name"]: one.get("value", address) for one in container.get("env", [])}
        for name, value in known.items():
            said += ["--env", f"{name}={value}"]
        first, *rest = container["command"]
        for name, value in known.items():
            rest = [word.replace(f"$({name})", value) for word in rest]
        return [*said, "--entrypoint", first, self._image, *rest]

    def _volume(self, name: str) -> str:
        return docker("volume", "create", "--label", self._label, f"{self._name}-{name}")

    def clear(self) -> None:
        for kind, remove in (("container", ["rm", "--force"]), ("network", ["rm"]), ("volume", ["rm"])):
            listed = ["ls", "--quiet", *(["--all"] if kind == "container" else []), "--filter", f"label={self._label}"]
            if found := docker(kind, *listed).split():
                docker(kind, *remove, *found)
