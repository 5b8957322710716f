import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from batiste.serialization import SerializationError, to_bytes
from batiste.serialization.archives import (
    archive_kind,
    members,
    opened_member,
    split_archive,
    unpacked_folder,
)

DATA = {"a.bin": b"0123456789" * 1000, "f/b.bin": b"", "f/g/c.bin": b"xyz"}


def make(path, files=DATA):
    """An archive of the kind that its name says, with more than files in it."""
    if "zip" in path.name:
        how = zipfile.ZIP_DEFLATED if "small" in path.name else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("f/", b"")
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        mode = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(path.suffix, "w")
        with tarfile.open(path, mode) as archive:
            folder = tarfile.TarInfo("./f")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
            for name, data in files.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


KINDS = ["x.zip", "small.zip", "x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2"]


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    return make(tmp_path / request.param)


def test_files_of_each_kind(path):
    assert archive_kind(path) == ("zip" if path.suffix == ".zip" else "tar")
    assert members(path) == {name: len(data) for name, data in DATA.items()}
    for name, data in DATA.items():
        with opened_member(path, name) as found:
            assert bytes(found) == data


def test_files_that_are_not_there(path):
    for name in ("link", "f", "none", "../a.bin"):
        with (
            pytest.raises(SerializationError, match="There is no file") as info,
            opened_member(path, name),
        ):
            pass
        assert "'a.bin', 'f/b.bin', 'f/g/c.bin'" in str(info.value)


def test_folders(path):
    with unpacked_folder(path, "f") as folder:
        assert sorted(os.listdir(folder)) == ["b.bin", "g"]
        with open(os.path.join(folder, "g", "c.bin"), "rb") as file:
            assert file.read() == b"xyz"
    assert not os.path.exists(folder)
    with unpacked_folder(path, "") as folder:
        assert sorted(os.listdir(folder)) == ["a.bin", "f"]


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//x", "."])
def test_names_that_lead_out(tmp_path, kind, name):
    path = make(tmp_path / kind, {name: b"x"})
    with (
        pytest.raises(SerializationError, match="leads elsewhere, and nothing is"),
        unpacked_folder(path, ""),
    ):
        pass
    assert os.listdir(tmp_path) == [kind]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_two_files_of_one_name(tmp_path, kind):
    class Twice(dict):
        def items(self):
            return [("a", b"x"), ("a", b"y")]

    path = make(tmp_path / kind, Twice())
    with pytest.raises(SerializationError, match="two files of the name 'a'"):
        members(path)


def test_other_files(tmp_path):
    for data in (b"", b"x", b"\x1f\x8bxx", to_bytes({"a": np.zeros(1000)})):
        (tmp_path / "file").write_bytes(data)
        assert archive_kind(tmp_path / "file") is None
    with pytest.raises(FileNotFoundError):
        archive_kind(tmp_path / "none")


def test_names_that_go_on_in_an_archive(path):
    for name in (path, path.parent):
        assert split_archive(str(name)) == (str(name), "")
    assert split_archive(f"{path}/a.bin") == (str(path), "a.bin")
    assert split_archive(f"{path}/f/none.bin") == (str(path), "f/none.bin")
    with pytest.raises(FileNotFoundError):
        split_archive(str(path.parent / "none" / "a.bin"))
    (path.parent / "file").write_bytes(b"x")
    with pytest.raises(NotADirectoryError):
        split_archive(str(path.parent / "file" / "a.bin"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_archives_that_were_cut_short(tmp_path, kind, keep):
    path = make(tmp_path / kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    try:
        for name in members(path):
            with opened_member(path, name) as found:
                assert bytes(found) == DATA[name]
    except SerializationError as error:
        assert str(error).isprintable()
    else:
        # A .tar may lack its end, which is nothing.
        assert kind.startswith("x.tar")


def test_a_zip_whose_places_are_wrong(tmp_path):
    path = make(tmp_path / "x.zip", {"a": b"x" * 10})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\3\4", 4)  # behind the folder
    data[at : at + 4] = b"PK\5\6"
    path.write_bytes(data)
    with (
        pytest.raises(SerializationError, match="The archive is damaged"),
        opened_member(path, "a"),
    ):
        pass


def test_a_file_without_a_name_is_a_file(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", b"data")
    data = bytearray(file.getvalue())
    # Neither of its two names has a length any more.
    for start, length, name in ((b"PK\3\4", 26, 30), (b"PK\1\2", 28, 46)):
        at = data.index(start)
        data[at + length] = 0
        del data[at + name]
    end = data.index(b"PK\5\6")
    data[end + 12] -= 1  # of the list
    data[end + 16] -= 1
    (tmp_path / "m.zip").write_bytes(data)
    assert members(str(tmp_path / "m.zip")) == {"": 4}


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damage_to_what_is_compressed_is_said(tmp_path, method):
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x.msgpack", bytes(range(256)) * 20)
    data = bytearray(path.read_bytes())
    for at in range(45, 75):
        data[at] ^= 0xFF
    path.write_bytes(data)
    with (
        pytest.raises(SerializationError, match="is damaged, or cannot be read"),
        opened_member(str(path), "x.msgpack"),
    ):
        pass
