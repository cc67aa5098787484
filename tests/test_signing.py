"""Signatures: with a public key set, what its owner did not sign never loads."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519

from running import publish, serving
from service.__main__ import main as serve
from signing import Keys, keys, sign
from spoiling import replace
from training.__main__ import main as train

Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def pair(tmp_path: Path) -> Keys:
    """A pair of keys."""
    return keys(tmp_path, "ours")


@pytest.fixture
def artifacts(version: Path) -> Path:
    """A folder with an unsigned version."""
    return version.parents[1]


@pytest.fixture
def verify(artifacts: Path, pair: Keys, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Verify the version by the public key: the exit status, and what is said."""

    def run(public: Path = pair.public) -> tuple[int, str]:
        capsys.readouterr()
        status = train(["verify", "--public-key", str(public), "--artifacts", str(artifacts), "thermometer", "1"])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def test_a_signed_version_is_verified(artifacts: Path, version: Path, pair: Keys, verify: Verify) -> None:
    """The signature is 64 bytes, and is put there without a trace of anything else."""
    before = {path.name for path in version.iterdir()}
    sign(artifacts, 1, pair)
    assert verify() == (0, "thermometer version 1: ok\n")
    assert {path.name for path in version.iterdir()} - before == {"manifest.sig"}
    assert (version / "manifest.sig").stat().st_size == 64


def unsigned(version: Path) -> None:
    (version / "manifest.sig").unlink()


def other_manifest(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    (version / "manifest.json").write_text(json.dumps(manifest))


def other_network(version: Path) -> None:
    replace(version, "network.pt", (version / "network.pt").read_bytes() + b"x")


def other_report(version: Path) -> None:
    (version / "report.json").write_text("{}")


def other_bit(version: Path) -> None:
    signature = bytearray((version / "manifest.sig").read_bytes())
    signature[10] ^= 1
    (version / "manifest.sig").write_bytes(signature)


def longer(version: Path) -> None:
    with (version / "manifest.sig").open("ab") as file:
        file.write(b"\n")


def shorter(version: Path) -> None:
    (version / "manifest.sig").write_bytes(b"")


def linked(version: Path) -> None:
    (version / "manifest.sig").rename(version.parent / "elsewhere")
    (version / "manifest.sig").symlink_to(version.parent / "elsewhere")


NOT_SIGNED = "manifest.sig: is not a signature of manifest.json by the owner of the public key"
ALTERATIONS: dict[Callable[[Path], None], str] = {
    unsigned: "is not signed: manifest.sig: no such file or directory",
    other_manifest: NOT_SIGNED,
    other_network: NOT_SIGNED,
    other_report: "report.json: has 2 bytes",
    other_bit: NOT_SIGNED,
    longer: "is not signed: manifest.sig: is larger than 64 bytes",
    shorter: NOT_SIGNED,
    linked: "is not signed: manifest.sig: is a symbolic link",
}


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_altered_version_is_not_verified(
    alter: Callable[[Path], None], artifacts: Path, version: Path, pair: Keys, verify: Verify
) -> None:
    """Whatever was altered; in one line that says what."""
    sign(artifacts, 1, pair)
    alter(version)
    status, said = verify()
    assert (status, said.count("\n")) == (1, 1)
    assert ALTERATIONS[alter] in said


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_an_altered_version_does_not_load(
    alter: Callable[[Path], None], artifacts: Path, version: Path, pair: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's own check says the same."""
    sign(artifacts, 1, pair)
    alter(version)
    assert serve(["check", "--artifacts", str(artifacts), "--public-key", str(pair.public)]) == 1
    assert ALTERATIONS[alter] in capsys.readouterr().out


def test_another_key_verifies_nothing(artifacts: Path, tmp_path: Path, pair: Keys, verify: Verify) -> None:
    """Until its owner signs too, in place of the first."""
    other = keys(tmp_path, "theirs")
    sign(artifacts, 1, pair)
    assert verify(other.public)[0] == 1
    sign(artifacts, 1, other)
    assert verify(other.public)[0] == 0
    assert verify()[0] == 1


def test_openssl_signs_and_verifies_the_same(artifacts: Path, version: Path, tmp_path: Path, verify: Verify) -> None:
    """Keys, signatures and the signed bytes are the standard's, and no matter of this project."""

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], cwd=tmp_path, check=True, capture_output=True)

    manifest, signature = version / "manifest.json", version / "manifest.sig"
    openssl("genpkey", "-algorithm", "ed25519", "-out", "private.pem")
    openssl("pkey", "-in", "private.pem", "-pubout", "-out", "public.pem")
    openssl("pkeyutl", "-sign", "-inkey", "private.pem", "-rawin", "-in", manifest, "-out", signature)
    assert verify(tmp_path / "public.pem")[0] == 0
    signature.unlink()
    sign(artifacts, 1, Keys(tmp_path / "private.pem", tmp_path / "public.pem"))
    openssl("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", manifest, "-sigfile", signature)


def test_fit_publishes_signed(tmp_path: Path, pair: Keys) -> None:
    """In the same rename, so that there is no moment without a signature."""
    publish(tmp_path, "--key", str(pair.private), epochs=1)
    assert serve(["check", "--artifacts", str(tmp_path), "--public-key", str(pair.public)]) == 0


def test_what_no_service_would_load_is_not_signed(
    artifacts: Path, version: Path, pair: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signature says that the version is whole."""
    other_report(version)
    flags = ["--key", str(pair.private), "--artifacts", str(artifacts)]
    assert train(["sign", *flags, "thermometer", "1"]) == 2
    assert train(["sign", *flags, "thermometer", "2"]) == 2
    assert train(["sign", *flags, "../thermometer", "1"]) == 2
    whole, absent, name = capsys.readouterr().err.splitlines()
    assert "report.json: has 2 bytes" in whole
    assert "there is no such version" in absent
    assert "'../thermometer': must be" in name
    assert not (version / "manifest.sig").exists()


NO_KEY = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
WRONG_FILES = {
    "missing": None,
    "empty": b"",
    "no key": b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("name", [*WRONG_FILES, "another algorithm"])
def test_a_file_that_is_no_key_is_one_line_and_status_2(
    name: str, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file, never what is in it; and nothing starts or is trained."""
    wrong = Keys(tmp_path / "wrong.pem", tmp_path / "wrong.pem")
    if name == "another algorithm":
        wrong = keys(tmp_path, "wrong", x25519.X25519PrivateKey.generate())
    elif content := WRONG_FILES[name]:
        wrong.private.write_bytes(content)
    place = ["--artifacts", str(artifacts)]
    commands: tuple[Callable[[], int], ...] = (
        lambda: train(["sign", "--key", str(wrong.private), *place, "thermometer", "1"]),
        lambda: train(["fit", "--key", str(wrong.private), *place]),
        lambda: train(["verify", "--public-key", str(wrong.public), *place, "thermometer", "1"]),
        lambda: serve(["check", "--public-key", str(wrong.public), *place]),
        lambda: serve(["serve", "--public-key", str(wrong.public), *place]),
    )
    for command in commands:
        capsys.readouterr()
        assert command() == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "wrong" in said.err
        assert "c2VjcmV0" not in said.err
    assert [path.name for path in (artifacts / "thermometer").iterdir()] == ["1"]


def test_without_the_extra_a_key_is_an_error_that_names_it(pair: Keys, artifacts: Path) -> None:
    """And without a key nothing asks for it."""
    absent = "import sys; sys.modules['cryptography'] = None"
    script = absent + "; from {}.__main__ import main; sys.exit(main(sys.argv[1:]))"
    for package, arguments, status in (
        ("service", ["check", "--artifacts", artifacts], 0),
        ("service", ["serve", "--public-key", pair.public, "--artifacts", artifacts], 2),
        ("training", ["sign", "--key", pair.private, "--artifacts", artifacts, "thermometer", "1"], 2),
    ):
        command = [sys.executable, "-c", script.format(package), *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == status, ended.stderr
        assert status == 0 or "--editable '.[signing]'" in ended.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unsigned_version_never_replaces_a_signed_one(workers: int, tmp_path: Path, pair: Keys) -> None:
    """It is listed with the reason; once it is signed it goes live, without a restart."""
    publish(tmp_path, "--key", str(pair.private), epochs=1)
    publish(tmp_path, epochs=1)
    with serving(tmp_path, "--public-key", str(pair.public), "--workers", str(workers)) as running:
        running.until_ready()
        path = "/models/thermometer/versions/2"
        running.until(lambda client: client.get(path).json()["state"] == "failed")
        assert "is not signed" in running.client.get(path).json()["reason"]
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).json()["version"] == "1"
        sign(tmp_path, 2, keys(tmp_path, "theirs"))
        running.until(lambda client: "is not a signature" in str(client.get(path).json()["reason"]))
        pair.public.unlink()  # it was read at the start
        sign(tmp_path, 2, pair)
        running.until(lambda client: client.get(path).json()["state"] == "ready")
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).json()["version"] == "2"


def test_an_unsigned_version_does_not_say_which_columns_the_default_has(tmp_path: Path, pair: Keys) -> None:
    """A lower version that anybody may have written takes the default from none that is signed."""
    other = tmp_path / "other.csv"
    other.write_text("kelvin,celsius\n" + "".join(f"{273 + row},{row}\n" for row in range(12)))
    artifacts = tmp_path / "artifacts"
    publish(artifacts, "--data", str(other), "--model", "thermometer", epochs=1)
    for _ in range(2):
        publish(artifacts, "--key", str(pair.private), epochs=1)
    with serving(artifacts, "--public-key", str(pair.public)) as running:
        running.until_ready()
        assert running.client.post("/predict", json={"fahrenheit": [50.0]}).json()["version"] == "3"
        warnings = running.client.get("/models/thermometer").json()["warnings"]
        assert not [text for text in warnings if "columns" in text]
