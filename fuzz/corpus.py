"""Writes the corpus the fuzz targets start from: small files that are valid, and small files that are hostile.

    python fuzz/corpus.py

`tests/fuzz_corpus.rs` expects files called valid_* to be accepted and files called hostile_* to be refused. Needs onnx,
numpy and pillow.
"""

import io
import json
import pathlib
import random
import struct

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CORPUS = pathlib.Path(__file__).parent / "corpus"
F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def write(target, name, data):
    (CORPUS / target / name).write_bytes(data)


def model(nodes, shape=(1, 2, 4, 4), initializers=(), opset=17, inputs=None, outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "g",
        inputs if inputs is not None else [helper.make_tensor_value_info("x", F32, shape)],
        [helper.make_tensor_value_info(name, F32, None) for name in outputs],
        initializer=list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one(op, inputs=("x",), initializers=(), **attributes):
    return model([helper.make_node(op, list(inputs), ["y"], **attributes)], initializers=initializers)


def floats(name, *shape):
    return numpy_helper.from_array(np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8 - 1, name)


def ints(name, *values):
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def external(location, length=None, offset=None):
    tensor = TensorProto(name="w", data_type=F32, dims=[4], data_location=TensorProto.EXTERNAL)
    entries = {"location": location, "length": length, "offset": offset}
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return one("Add", ["x", "w"], [tensor])


def onnx_files():
    conv = one("Conv", ["x", "w"], [floats("w", 3, 2, 3, 3)], pads=[1, 1, 1, 1])
    valid = {
        "conv": conv,
        "pool": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        "average": one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        "transposed": one("ConvTranspose", ["x", "w"], [floats("w", 2, 1, 2, 2)], strides=[2, 2]),
        "resize": one("Resize", ["x", "", "s"], [numpy_helper.from_array(np.float32([1, 1, 2, 1.5]), "s")]),
        "slice": one("Slice", ["x", "s", "e", "a", "t"], [ints("s", -1), ints("e", -9), ints("a", -1), ints("t", -2)]),
        "pad": one("Pad", ["x", "p"], [ints("p", 0, 0, 1, 1, 0, 0, 1, 1)], mode="reflect"),
        "negative_axis": one("Softmax", axis=-1),
        "reduce": one("ReduceMean", axes=[-1, -2]),
        "norm": one("LayerNormalization", ["x", "s"], [floats("s", 4)], axis=-1),
        "lrn": one("LRN", size=3),
        "nan_attribute": one("LeakyRelu", alpha=float("nan")),
        "arg": model([helper.make_node("ArgMax", ["x"], ["y"], axis=-3)]),
        "gather": one("Gather", ["x", "i"], [ints("i", 0, -1)], axis=1),
        "split": model([helper.make_node("Split", ["x"], ["y", "z"], axis=-1)], outputs=("y", "z")),
        "shape_arithmetic": model(
            [
                helper.make_node("Shape", ["x"], ["s"]),
                helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
                helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
                helper.make_node("Reshape", ["x", "t"], ["y"]),
            ],
            initializers=[ints("zero", 0), ints("rest", -1)],
        ),
        "gemm": model(
            [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "c"], ["y"], transB=1)],
            initializers=[floats("w", 3, 32), floats("c", 3)],
        ),
        "unsorted": model([helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Abs", ["x"], ["a"])]),
        "symbols": model([helper.make_node("Relu", ["x"], ["y"])], shape=("n", 2, None)),
        "empty_batch": model([helper.make_node("Relu", ["x"], ["y"])], shape=(0, 2, 3)),
        "two_convs": model(
            [
                helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
                helper.make_node("Relu", ["a"], ["b"]),
                helper.make_node("Conv", ["b", "v", "c"], ["d"], group=2),
                helper.make_node("Clip", ["d", "lo", "hi"], ["y"]),
            ],
            initializers=[floats("w", 2, 2, 3, 3), floats("v", 2, 1, 1, 1), floats("c", 2), floats("lo"), floats("hi")],
        ),
    }
    huge = TensorProto(name="w", data_type=F32, dims=[1 << 40, 1 << 40])
    hostile = {
        "cycle": model([helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])], outputs=("b",)),
        "self_cycle": model([helper.make_node("Add", ["x", "y"], ["y"])]),
        "duplicate_outputs": model([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])]),
        "duplicate_initializers": one("Add", ["x", "w"], [floats("w", 4), floats("w", 1)]),
        "duplicate_inputs": model(
            [helper.make_node("Relu", ["x"], ["y"])], inputs=[helper.make_tensor_value_info("x", F32, [1])] * 2
        ),
        "input_computed": model([helper.make_node("Relu", ["x"], ["x"])], outputs=("x",)),
        "no_outputs": model([], outputs=()),
        "nothing_computes_it": model([], outputs=("y",)),
        "unknown_operator": one("Frobnicate"),
        "unknown_domain": one("Relu", domain="com.example"),
        "opset_0": model([helper.make_node("Relu", ["x"], ["y"])], opset=0),
        "opset_huge": model([helper.make_node("Relu", ["x"], ["y"])], opset=1 << 40),
        "huge_dims": one("Add", ["x", "w"], [huge]),
        "huge_dims_with_zero": one("Add", ["x", "w"], [TensorProto(name="w", data_type=F32, dims=[1 << 62, 0, 1 << 62])]),
        "negative_dims": one("Add", ["x", "w"], [TensorProto(name="w", data_type=F32, dims=[-4])]),
        "too_few_elements": one("Add", ["x", "w"], [TensorProto(name="w", data_type=F32, dims=[4], raw_data=b"abc")]),
        "too_many_elements": one("Add", ["x", "w"], [TensorProto(name="w", data_type=F32, dims=[1], float_data=[1, 2])]),
        "huge_input": model([helper.make_node("Relu", ["x"], ["y"])], shape=(1 << 40, 1 << 40)),
        "negative_input": model([helper.make_node("Relu", ["x"], ["y"])], shape=(-7,)),
        "zero_stride": one("MaxPool", kernel_shape=[2, 2], strides=[0, 0]),
        "zero_kernel": one("MaxPool", kernel_shape=[0, 0]),
        "zero_dilation": one("AveragePool", kernel_shape=[2, 2], dilations=[0, 1]),
        "zero_group": one("Conv", ["x", "w"], [floats("w", 3, 2, 3, 3)], group=0),
        "negative_pads": one("Conv", ["x", "w"], [floats("w", 3, 2, 3, 3)], pads=[-1, -1, -1, -1]),
        "huge_pads": one("Conv", ["x", "w"], [floats("w", 3, 2, 3, 3)], pads=[(1 << 63) - 1] * 4),
        "huge_kernel": one("AveragePool", kernel_shape=[1 << 31, 1 << 31], pads=[1 << 31] * 4),
        "axis_past_the_end": one("Softmax", axis=4),
        "axis_before_the_start": one("Softmax", axis=-(1 << 63)),
        "axes_twice": one("ReduceSum", ["x", "a"], [ints("a", 1, -3)]),
        "overflowing_reshape": one("Reshape", ["x", "s"], [ints("s", 1 << 62, 1 << 62, -1)]),
        "two_unknowns": one("Reshape", ["x", "s"], [ints("s", -1, -1)]),
        "overflowing_tile": one("Tile", ["x", "r"], [ints("r", 1 << 40, 1 << 40, 1, 1)]),
        "overflowing_expand": one("Expand", ["x", "s"], [ints("s", 1 << 62, 1, 1, 1, 1)]),
        "expand_overflowing_strides": one("Expand", ["x", "s"], [ints("s", 1 << 62, 2, 1, 1, 4)]),
        "overflowing_pad": one("Pad", ["x", "p"], [ints("p", *[(1 << 63) - 1] * 8)]),
        "overflowing_concat": model([helper.make_node("Concat", ["x"] * 4, ["y"], axis=0)], shape=(1 << 58,)),
        "constant_of_a_terabyte": one("ConstantOfShape", ["s"], [ints("s", 1 << 38)]),
        "range_without_end": model(
            [helper.make_node("Range", ["a", "b", "c"], ["y"])],
            initializers=[numpy_helper.from_array(np.int64(v), n) for n, v in (("a", 0), ("b", 1 << 62), ("c", 1))],
        ),
        "range_of_step_0": model(
            [helper.make_node("Range", ["a", "b", "c"], ["y"])],
            initializers=[numpy_helper.from_array(np.int64(v), n) for n, v in (("a", 0), ("b", 9), ("c", 0))],
        ),
        "slice_of_step_0": one("Slice", ["x", "s", "e", "a", "t"], [ints("s", 0), ints("e", 9), ints("a", 0), ints("t", 0)]),
        "resize_by_nan": one("Resize", ["x", "", "s"], [numpy_helper.from_array(np.float32([1, 1, np.nan, 1]), "s")]),
        "resize_by_infinity": one("Resize", ["x", "", "s"], [numpy_helper.from_array(np.float32([1, 1, np.inf, 1]), "s")]),
        "resize_to_2_to_62": one("Resize", ["x", "", "", "s"], [ints("s", 1, 2, 1 << 62, 4)]),
        "resize_to_negative": one("Resize", ["x", "", "", "s"], [ints("s", 1, 2, -4, 4)]),
        "attribute_twice": model(
            [helper.make_node("Softmax", ["x"], ["y"], axis=1)],
        ),
        "attribute_of_another_type": one("Softmax", axis=[1]),
        "attribute_unknown": one("Relu", colour=3),
        "loop": one("Loop", body=conv.graph),
        "split_of_0": model([helper.make_node("Split", ["x"], ["y"], axis=0, num_outputs=0)], opset=18),
        "blocks_of_2_to_62": one("DepthToSpace", blocksize=1 << 62),
        "groups_0": model([helper.make_node("GroupNormalization", ["x", "s", "s"], ["y"], num_groups=0)], initializers=[floats("s", 2)], opset=21),
        "gather_outside": one("Gather", ["x", "i"], [ints("i", 7)], axis=0),
        "lrn_0": one("LRN", size=0),
        "external_absolute": external("/etc/hostname"),
        "external_parent": external("../secret.bin"),
        "external_parent_later": external("sub/../../secret.bin"),
        "external_backslash": external("..\\secret.bin"),
        "external_missing": external("missing.bin"),
        "external_folder": external("."),
        "external_empty": external(""),
        "external_too_long": external("weights.bin", length=1 << 40),
        "external_offset_past_the_end": external("weights.bin", offset=1 << 60),
        "external_negative_offset": external("weights.bin", offset=-8),
        "external_no_number": external("weights.bin", offset="eight"),
    }
    hostile["attribute_twice"].graph.node[0].attribute.append(helper.make_attribute("axis", 2))
    for name, proto in valid.items():
        write("onnx_bytes", f"valid_{name}.onnx", proto.SerializeToString())
    for name, proto in hostile.items():
        write("onnx_bytes", f"hostile_{name}.onnx", proto.SerializeToString())
    write("onnx_bytes", "external_inside.onnx", external("weights.bin", length=16, offset=8).SerializeToString())

    whole = conv.SerializeToString()
    for part in (1, 7, len(whole) // 2, len(whole) - 1):
        write("onnx_bytes", f"hostile_truncated_{part}.onnx", whole[:part])
    raw = {
        "empty": b"",
        "text": b"not a model at all\n",
        "length_past_the_end": b"\x3a\xff\xff\xff\xff\x0f",
        "endless_varint": b"\x3a" + b"\xff" * 32,
        "wrong_wire_type": b"\x3d\x00\x00\x00\x00",
        "nested_groups": b"\x0b" * 4096,
        "nested_messages": nested(200),
        "raw_data_of_2_to_60": b"\x3a\x10\x2a\x0e\x10\x01\x4a" + b"\x80" * 8 + b"\x10" + b"abc",
        "floats_of_2_to_60": b"\x3a\x10\x2a\x0e\x10\x01\x22" + b"\x80" * 8 + b"\x10" + b"abc",
        "invalid_utf_8": b"\x3a\x04\x12\x02\xff\xfe",
    }
    for name, data in raw.items():
        write("onnx_bytes", f"hostile_{name}.onnx", data)


def nested(depth):
    """A graph in an attribute of a node of a graph, and so on."""
    data = b""
    for _ in range(depth):
        for tag in (6, 5, 1):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            data = bytes([tag << 3 | 2]) + onnx_varint(len(data)) + data
    return b"\x3a" + onnx_varint(len(data)) + data


def onnx_varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def choices():
    rng = random.Random(3)
    for i in range(64):
        write("onnx_import", f"choices_{i}", rng.randbytes(320))


def weights():
    def file(header, data):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    def entry(dtype, shape, start, end):
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    weight, bias = entry("F32", [2, 3], 0, 24), entry("F32", [2], 24, 32)
    data = np.arange(8, dtype=np.float32).tobytes()
    whole = file({"weight": weight, "bias": bias}, data)
    counter = entry("I64", [], 32, 40)
    files = {
        "valid_linear": whole,
        "valid_counter": file({"weight": weight, "bias": bias, "bn.num_batches_tracked": counter}, data + b"\0" * 8),
        "hostile_empty": b"",
        "hostile_truncated": whole[:-1],
        "hostile_longer": whole + b"\0",
        "hostile_header_past_the_end": struct.pack("<Q", 1 << 60) + b"{}",
        "hostile_header_of_2_to_64": b"\xff" * 8 + b"{}",
        "hostile_no_json": file(b"{weight", data),
        "hostile_nested_json": file(b"[" * 100000, b""),
        "hostile_duplicate_names": file(
            ('{"weight":%s,"weight":%s}' % (json.dumps(weight), json.dumps(weight))).encode(), data
        ),
        "hostile_overlap": file({"weight": weight, "bias": entry("F32", [2], 16, 24)}, data),
        "hostile_gap": file({"weight": weight, "bias": entry("F32", [2], 28, 36)}, data + b"\0" * 4),
        "hostile_backwards": file({"weight": entry("F32", [2, 3], 24, 0), "bias": bias}, data),
        "hostile_overflowing_shape": file({"weight": entry("F32", [1 << 62, 1 << 62], 0, 24), "bias": bias}, data),
        "hostile_negative_shape": file({"weight": entry("F32", [-2, 3], 0, 24), "bias": bias}, data),
        "hostile_other_type": file({"weight": entry("F64", [3], 0, 24), "bias": bias}, data),
        "hostile_other_shape": file({"weight": entry("F32", [3, 2], 0, 24), "bias": bias}, data),
        "hostile_missing": file({"bias": entry("F32", [2], 0, 8)}, data[:8]),
        "hostile_unknown": file({"weight": weight, "bias": bias, "more": entry("F32", [], 32, 36)}, data + b"\0" * 4),
    }
    for name, bytes_ in files.items():
        write("safetensors", f"{name}.safetensors", bytes_)


def pictures():
    pixels = np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8)

    def encoded(image, kind, **options):
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    rgb = Image.fromarray(pixels)
    png, jpeg = encoded(rgb, "PNG"), encoded(rgb, "JPEG", quality=60)
    exif = Image.Exif()
    exif[0x0112] = 6
    header = png.index(b"IHDR")

    def sized(width, height):
        chunk = b"IHDR" + struct.pack(">II", width, height) + png[header + 12 : header + 17]
        import zlib

        return png[:header] + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[header + 21 :]

    files = {
        "valid_rgb.png": png,
        "valid_grey.png": encoded(rgb.convert("L"), "PNG"),
        "valid_palette.png": encoded(rgb.convert("P"), "PNG"),
        "valid_alpha.png": encoded(rgb.convert("RGBA"), "PNG"),
        "valid_rgb.jpg": jpeg,
        "valid_progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "valid_turned.jpg": encoded(rgb, "JPEG", exif=exif),
        "valid_pixel.png": encoded(rgb.crop((0, 0, 1, 1)), "PNG"),
        "hostile_empty.png": b"",
        "hostile_truncated.png": png[: len(png) // 2],
        "hostile_truncated.jpg": jpeg[: len(jpeg) // 2],
        "hostile_header_only.png": png[:8],
        "hostile_huge.png": sized(0x7FFFFFFF, 0x7FFFFFFF),
        "hostile_no_pixels.png": sized(0, 0),
        "hostile_wide.png": sized(60000, 60000),
        "hostile_gif.png": encoded(rgb.convert("P"), "GIF"),
        "hostile_marker_only.jpg": b"\xff\xd8\xff\xda\xff\xd9",
    }
    for name, data in files.items():
        write("picture", name, data)


if __name__ == "__main__":
    for target in ("onnx_bytes", "onnx_import", "safetensors", "picture"):
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
    onnx_files()
    choices()
    weights()
    pictures()
