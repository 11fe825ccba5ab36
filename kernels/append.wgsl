// Append     ring[counter % length, i] = values[i], then counter += 1
//
// Shapes     values [W], ring [length, W], counter [1].
// Grid       one invocation; W is a handful.
// Entries    forward  writes  one row of ring, counter
// Numerics   copies bits.
// Source     keeps per-step scalars on the GPU, so that no step waits for a read.
// Twins      lib/ops/append.ts, tests/ops/append_test.ts

struct Params {
  width: u32,
  length: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;         // [W]
@group(0) @binding(2) var<storage, read_write> ring: array<f32>;     // [length, W]
@group(0) @binding(3) var<storage, read_write> counter: array<u32>;  // [1]

@compute @workgroup_size(1)
fn forward() {
  let row = counter[0] % params.length;
  for (var i = 0u; i < params.width; i++) {
    ring[row * params.width + i] = values[i];
  }
  counter[0] += 1u;
}
