import assert from "node:assert/strict";
import { ProtobufWriter } from "../../lib/format/protobuf.ts";

const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

// Expected bytes: the examples of https://protobuf.dev/programming-guides/encoding/, and the rules given there.
Deno.test("ProtobufWriter writes the documented examples", () => {
  assert.equal(hex(new ProtobufWriter().varint(1, 150).finish()), "08 96 01");
  assert.equal(hex(new ProtobufWriter().string(2, "testing").finish()), "12 07 74 65 73 74 69 6e 67");
  assert.equal(
    hex(new ProtobufWriter().message(3, (inner) => inner.varint(1, 150)).finish()),
    "1a 03 08 96 01",
  );
  assert.equal(
    hex(new ProtobufWriter().packedVarints(6, [3, 270, 86942]).finish()),
    "32 06 03 8e 02 9e a7 05",
  );
  assert.equal(hex(new ProtobufWriter().varint(1, -2).finish()), "08 fe ff ff ff ff ff ff ff ff 01");
});

Deno.test("ProtobufWriter writes fixed-width numbers and large field numbers", () => {
  assert.equal(hex(new ProtobufWriter().float(2, 1.5).finish()), "15 00 00 c0 3f");
  assert.equal(hex(new ProtobufWriter().double(1, -2).finish()), "09 00 00 00 00 00 00 00 c0");
  assert.equal(hex(new ProtobufWriter().packedFloats(4, [1, -1]).finish()), "22 08 00 00 80 3f 00 00 80 bf");
  assert.equal(hex(new ProtobufWriter().varint(16, 0).finish()), "80 01 00");
  assert.equal(
    hex(new ProtobufWriter().varint(1, (1n << 63n) - 1n).finish()),
    "08 ff ff ff ff ff ff ff ff 7f",
  );
  assert.equal(
    hex(new ProtobufWriter().message(1, () => {}).bytes(2, new Uint8Array(0)).finish()),
    "0a 00 12 00",
  );
});

Deno.test("ProtobufWriter refuses what it would write wrongly", () => {
  assert.throws(() => new ProtobufWriter().varint(1, 1.5), RangeError);
  assert.throws(() => new ProtobufWriter().varint(1, NaN), RangeError);
  assert.throws(() => new ProtobufWriter().varint(0, 1), RangeError);
});
