"""OPS_REQUIRE_SIGNED with real git and real keys of ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from apps.ops.conf import OpsSettings
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.steps.fetch import Fetch
from apps.ops.errors import Refused
from apps.ops.signed import require_signed
from apps.ops.source import Checkout
from tests.conftest import Git, OpsSettingsFactory
from tests.servers import HUNG_SECONDS


class Keys:
    """Pairs of keys, and the server's file of those that may sign."""

    def __init__(self, git: Git, directory: Path) -> None:
        self._git, self._directory = git, directory
        self.signers = git.checkout / ".ssh" / "allowed_signers"
        self.signers.parent.mkdir()
        (git.checkout / ".git" / "info" / "exclude").write_text(".ssh/\n")
        git.run("config", "gpg.format", "ssh")

    def make(self, name: str) -> Path:
        path = self._directory / name
        if not path.exists():
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
            subprocess.run(argv, check=True)
        return path

    def allow(self, name: str, options: str = "") -> None:
        public = self.make(name).with_suffix(".pub").read_text()
        with self.signers.open("a") as file:
            file.write(f"{name}@example.org {options} {public}".replace("  ", " "))

    def commit(self, by: str, message: str = "Signed", **files: str) -> str:
        self._git.run("config", "user.signingkey", str(self.make(by)))
        self._git.run("config", "commit.gpgsign", "true")
        try:
            return self._git.push(message, {**files, "n": message})
        finally:
            self._git.run("config", "commit.gpgsign", "false")

    def tag(self, name: str, sha: str, by: str) -> None:
        self._git.run("config", "user.signingkey", str(self.make(by)))
        self._git.run("tag", "--sign", "--message", name, name, sha)
        self._git.run("push", "--quiet", "origin", name)


@pytest.fixture
def keys(git: Git, tmp_path: Path) -> Keys:
    directory = tmp_path / "keys"
    directory.mkdir()
    return Keys(git, directory)


@pytest.fixture
def checkout(git: Git) -> Checkout:
    return Checkout(git.checkout, remote="origin", branch="main")


def wanted(make: OpsSettingsFactory, checkout: Checkout, how: str, **more: str) -> OpsSettings:
    return make(checkout=checkout.path, require_signed=how, **more)


def fetched(checkout: Checkout) -> Checkout:
    checkout.fetch(seconds=HUNG_SECONDS, say=print)
    return checkout


def refusal(sha: str, checkout: Checkout, settings: OpsSettings) -> str:
    with pytest.raises(Refused) as caught:
        require_signed(sha, checkout=fetched(checkout), settings=settings)
    assert caught.value.next
    return caught.value.found


def test_nothing_has_to_be_signed_unless_it_is_asked_for(
    git: Git, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    settings = wanted(ops_settings, checkout, "")
    assert require_signed(git.first, checkout=checkout, settings=settings) == ""


def test_a_commit_that_an_allowed_signer_signed_passes_and_names_them(
    keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    sha = keys.commit("ada")

    settings = wanted(ops_settings, checkout, "commits")
    said = require_signed(sha, checkout=fetched(checkout), settings=settings)

    assert said.startswith(f'Commit {sha[:12]}: Good "git" signature for ada@example.org')


def test_what_is_not_signed_or_by_somebody_else_is_refused_with_what_was_found(
    git: Git, keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    settings = wanted(ops_settings, checkout, "commits")

    assert "is not signed with an SSH key" in refusal(git.first, checkout, settings)
    stranger = keys.commit("mallory")
    found = refusal(stranger, checkout, settings)
    assert "signed with a key that allowed_signers does not have: SHA256:" in found


def test_a_commit_changed_after_it_was_signed_is_refused(
    git: Git, keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    sha = keys.commit("ada")
    text = git.run("cat-file", "commit", sha).replace("\n\nSigned", "\n\nForged") + "\n"
    path = git.clone / ".git" / "forged"
    path.write_text(text)
    forged = git.run("hash-object", "-t", "commit", "-w", str(path))
    git.run("push", "--quiet", "--force", "origin", f"{forged}:refs/heads/main")

    assert "has a bad signature" in refusal(
        forged, checkout, wanted(ops_settings, checkout, "commits")
    )


def test_a_key_whose_time_is_over_signs_no_more(
    keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada", 'valid-before="20200101"')
    sha = keys.commit("ada")

    found = refusal(sha, checkout, wanted(ops_settings, checkout, "commits"))

    assert "was not allowed at its time" in found


def test_neither_the_repository_nor_its_owner_can_say_who_may_sign(
    git: Git,
    keys: Keys,
    checkout: Checkout,
    ops_settings: OpsSettingsFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys.allow("ada")
    sha = keys.commit("mallory")
    theirs = tmp_path / "theirs"
    theirs.write_text(f"mallory {keys.make('mallory').with_suffix('.pub').read_text()}")
    yes = tmp_path / "yes"
    yes.write_text("#!/bin/sh\necho 'Good \"git\" signature for ada'\n")
    yes.chmod(0o755)
    for name, value in (
        ("gpg.ssh.allowedSignersFile", theirs),
        ("gpg.ssh.program", yes),
        ("gpg.program", yes),
        ("gpg.minTrustLevel", "undefined"),
    ):
        git.on_server("config", name, str(value))
    everywhere = tmp_path / "gitconfig"
    everywhere.write_text((git.checkout / ".git" / "config").read_text())
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(everywhere))

    assert "does not have" in refusal(sha, checkout, wanted(ops_settings, checkout, "commits"))


def test_a_replaced_commit_is_judged_and_built_as_what_its_name_says(
    git: Git, keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    good = keys.commit("ada")
    bad = git.push("Not signed", {"README": "two\n"})
    fetched(checkout)
    git.on_server("replace", bad, good)

    assert "is not signed" in refusal(bad, checkout, wanted(ops_settings, checkout, "commits"))


def test_who_may_sign_is_not_told_by_the_commit_itself(
    keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    public = keys.make("mallory").with_suffix(".pub").read_text()
    keys.allow("ada")
    sha = keys.commit("mallory", **{".ssh/allowed_signers": f"mallory {public}"})

    found = refusal(sha, checkout, wanted(ops_settings, checkout, "commits"))

    assert ".ssh/allowed_signers is in" in found


def test_the_file_of_signers_can_lie_elsewhere_and_must_be_there(
    keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    keys.allow("ada")
    sha = keys.commit("ada")
    elsewhere = tmp_path / "signers"
    settings = wanted(ops_settings, checkout, "commits", allowed_signers=str(elsewhere))

    assert "is not known: " in refusal(sha, checkout, settings)
    elsewhere.write_text("")
    assert "nobody may sign" in refusal(sha, checkout, settings)
    elsewhere.write_text(keys.signers.read_text())
    assert require_signed(sha, checkout=checkout, settings=settings)


def test_a_word_that_is_neither_commits_nor_tags_lets_nothing_pass(
    git: Git, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    found = refusal(git.first, checkout, wanted(ops_settings, checkout, "yes"))
    assert found.startswith("OPS_REQUIRE_SIGNED is 'yes'")


def test_with_tags_the_commit_needs_a_signed_tag_under_its_own_name(
    git: Git, keys: Keys, checkout: Checkout, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    settings = wanted(ops_settings, checkout, "tags")
    assert "No annotated tag" in refusal(git.first, checkout, settings)
    git.run("tag", "light", git.first)
    git.run("push", "--quiet", "origin", "light")
    assert "No annotated tag" in refusal(git.first, checkout, settings)

    keys.tag("v1", git.first, "mallory")
    assert "Tag v1 is signed with a key that" in refusal(git.first, checkout, settings)

    keys.tag("v2", git.first, "ada")
    said = require_signed(git.first, checkout=fetched(checkout), settings=settings)
    assert said.startswith('Tag v2: Good "git" signature for ada@example.org')

    # Ada's tag of another commit, pushed under a name that nobody gave it.
    second = git.push("Second")
    keys.tag("v3", second, "ada")
    git.run("push", "--quiet", "origin", "refs/tags/v3:refs/tags/v4", ":refs/tags/v3")
    git.on_server("fetch", "--quiet", "--prune", "--prune-tags", "origin")
    assert "No annotated tag" in refusal(second, checkout, settings)


def test_a_deployment_stops_before_anything_of_the_commit_is_read(
    git: Git, keys: Keys, deploy: Deploy, ops_settings: OpsSettingsFactory
) -> None:
    keys.allow("ada")
    git.push("Not signed", {"compose.prod.yml": "services: ["})
    deploy.checkout = Checkout(git.checkout, remote="origin", branch="main")
    deploy.settings = wanted(ops_settings, deploy.checkout, "commits")
    deploy._plan = None

    with pytest.raises(Refused, match="is not signed with an SSH key"):
        Fetch().run(deploy)
    assert not deploy.planned
