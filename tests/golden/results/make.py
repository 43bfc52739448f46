# Makes foreign.h5: a sealed file with links and layouts that a results file never has.
# pip install h5py
import hashlib

import h5py
import numpy

with h5py.File("body.h5", "w", libver=("earliest", "v110")) as file:
    file["plain"] = numpy.arange(4.0)
    file["soft"] = h5py.SoftLink("/plain")
    file["external"] = h5py.ExternalLink("/etc/passwd", "/x")
    file.create_dataset("chunked", data=numpy.zeros(1000), chunks=(10,), compression="gzip")
    file.create_dataset("elsewhere", (8,), "f8", external=[("/etc/passwd", 0, 64)])
    file.create_dataset("huge", (1 << 40,), "f8")
    file.create_dataset("texts", data=["a", "bc"], dtype=h5py.string_dtype())
    file.create_dataset("short", data=numpy.arange(4, dtype="f4"))
    file.attrs["variable"] = "text"
body = open("body.h5", "rb").read()
seal = f"attnlab results\n{len(body)} bytes of HDF5 follow byte 512\nsha256 {hashlib.sha256(body).hexdigest()}\n"
open("foreign.h5", "wb").write(seal.encode().ljust(512, b"\0") + body)
