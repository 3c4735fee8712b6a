# A host as docs/distributed.md expects it: Python, sshd, and a user who may come from the other hosts. It has no way to a package
# registry, so the packages lie in the folder that the document's own line then makes an environment of.
ARG IMAGE
FROM $IMAGE
USER root
RUN apt-get update -qq && apt-get install -qq --no-install-recommends openssh-server openssh-client procps >/dev/null \
    && python -m pip uninstall --quiet --yes decoupled-trainer && mkdir -p /run/sshd && ssh-keygen -A \
    && usermod --shell /bin/bash decoupled && echo "StrictHostKeyChecking accept-new" >>/etc/ssh/ssh_config
USER decoupled
WORKDIR /home/decoupled
RUN install -d -m 700 .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519 && cp .ssh/id_ed25519.pub .ssh/authorized_keys && python -m venv venv \
    && python -c "import numpy; print(numpy.__path__[0].removesuffix('/numpy'))" >"$(echo venv/lib/python3*/site-packages)/needs.pth"
USER root
CMD ["/usr/sbin/sshd", "-D", "-e"]
