"""What is asked for to unpack files, before they are unpacked."""

import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest

from batiste.serialization import SerializationError
from batiste.serialization.archives import archive_kind, members, opened_member
from batiste.serialization.unpacking import check_member, check_xz


def zipped(method=zipfile.ZIP_STORED, data=b"data" * 100):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("first", b"x")
        archive.writestr("a", data)
    return bytearray(file.getvalue())


def info_of(data):
    file = io.BytesIO(data)
    return file, zipfile.ZipFile(file).getinfo("a")


def test_where_the_bytes_begin():
    data = zipped()
    assert check_member(*info_of(data)) == data.index(b"datadata")


def test_more_than_the_file_has():
    data = zipped()
    data[data.rindex(b"PK\1\2") + 22] = 2  # the third of four bytes of a length
    with pytest.raises(zipfile.BadZipFile) as caught:
        check_member(*info_of(data))
    assert str(caught.value) == (
        f"it would have {400 + 2**17} bytes from {data.index(b'datadata')} on, and the "
        f"file has {len(data)}"
    )


@pytest.mark.parametrize("offset", [1, 10_000, 2**31])
def test_a_place_where_no_file_begins(offset):
    data = zipped()
    at = data.rindex(b"PK\1\2") + 42
    data[at : at + 4] = offset.to_bytes(4, "little")
    with pytest.raises(zipfile.BadZipFile, match="no file begins where one should"):
        check_member(*info_of(data))


def test_lzma_that_takes_much_memory(tmp_path):
    data = zipped(zipfile.ZIP_LZMA)
    start = check_member(*info_of(data))
    data[start + 8] = 0x40  # the highest byte of the size of its dictionary
    with pytest.raises(zipfile.BadZipFile, match=r"would take 10\d+ bytes of memory"):
        check_member(*info_of(data))
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with (
        pytest.raises(SerializationError, match="bytes of memory"),
        opened_member(str(path), "a"),
    ):
        pass


def xz_tar(path, dictionary):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": dictionary}]
    with (
        lzma.open(path, "wb", filters=filters) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        info = tarfile.TarInfo("a")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))


def test_xz_of_each_preset_is_unpacked(tmp_path):
    path = tmp_path / "a.tar.xz"
    xz_tar(path, 2**26)
    check_xz(str(path))
    assert members(str(path)) == {"a": 4}


def test_xz_that_takes_much_memory_is_not_unpacked(tmp_path):
    path = tmp_path / "a.tar.xz"
    xz_tar(path, 2**20)
    data = bytearray(path.read_bytes())
    # Its dictionary as it would be with 1.5 GiB; the check of the block's head follows.
    head = data[12 : 12 + (data[12] + 1) * 4]
    at = head.index(b"\x21\x01") + 2
    head[at] = 39
    head[-4:] = zlib_crc(head[:-4])
    data[12 : 12 + len(head)] = head
    path.write_bytes(data)
    with pytest.raises(lzma.LZMAError, match="[Mm]emory"):
        check_xz(str(path))
    assert archive_kind(str(path)) is None


def zlib_crc(data):
    import zlib

    return zlib.crc32(bytes(data)).to_bytes(4, "little")


def test_no_memory_is_asked_for_what_is_no_archive(tmp_path):
    # It could be lzma without a name: then these would be 2 GiB for its dictionary.
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\0\0\x80" + bytes(27))
    tracemalloc.start()
    assert archive_kind(str(path)) is None
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20
