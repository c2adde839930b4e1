"""What is configured and paramiko cannot do: said before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import paramiko

from apps.ops.remote.openssh import Answers

_IGNORED = {
    "controlpath": "ControlPath is not used: this is a connection of its own, with its own login.",
    "knownhostscommand": "KnownHostsCommand is not asked: only known_hosts files count.",
    "pkcs11provider": "PKCS11Provider is not used: keys on a card work through the agent "
    "(ssh-add -s).",
}
# The class has what its objects begin with.
_OURS = paramiko.SecurityOptions(paramiko.Transport)  # type: ignore[arg-type]
_KINDS = {
    "kexalgorithms": ("key exchange", _OURS.kex),
    "ciphers": ("cipher", _OURS.ciphers),
    "macs": ("MAC", _OURS.digests),
    "hostkeyalgorithms": ("kind of host key", _OURS.key_types),
}


def ignored(answers: Answers) -> Sequence[str]:
    """A sentence for each setting that is not followed."""
    found = [text for key, text in _IGNORED.items() if _is_set(answers, key)]
    if answers.get("stricthostkeychecking", ["ask"])[0].lower() in ("no", "off", "false"):
        found.append("StrictHostKeyChecking no is not followed: unknown host keys are asked about.")
    return found


def impossible(
    answers: Answers, methods: Collection[str], algorithms: Mapping[str, Sequence[str]]
) -> str:
    """Why no connection can be as it is configured; empty when one can."""
    if not methods:
        return (
            "The configuration leaves no way to log in but those of GSSAPI, Kerberos or hostbased, "
            "which paramiko does not have."
        )
    if _is_set(answers, "bindinterface"):
        return "BindInterface is not understood here; BindAddress is."
    if _is_set(answers, "revokedhostkeys"):
        return "RevokedHostKeys is not understood here, so that a revoked key would be trusted."
    if _is_set(answers, "proxycommand") and answers.get("proxyusefdpass") == ["yes"]:
        return "ProxyUseFdpass is not understood here: the command must be the link itself."
    for key, (kind, ours) in _KINDS.items():
        if key in algorithms and not set(ours) & set(algorithms[key]):
            return (
                f"Of the configuration's {key} paramiko {paramiko.__version__} knows no {kind}: "
                f"{', '.join(algorithms[key])}. It knows {', '.join(ours)}."
            )
    return ""


def _is_set(answers: Answers, key: str) -> bool:
    return answers.get(key, ["none"])[0].lower() != "none"
