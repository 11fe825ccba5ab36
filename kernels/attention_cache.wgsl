// Cache write    cache[slots[r], positions[r] + i, c] = x[r, i, c]
//
// Shapes     R rows, N consecutive new positions of each, C = K * DH channels, SLOTS slots of M positions.
// Grid       one thread per element of x, folded over x and y.
// Entries    write  writes  cache, at those places; what lies outside the slots or past position M is left out
// Numerics   f32, copied bit by bit; every element is written by one thread.
// Source     none: a scatter of rows.
// Twins      lib/ops/attention_decode.ts, tests/ops/attention_decode_test.ts

struct Params {
  R: u32,
  N: u32,
  C: u32,
  M: u32,
  SLOTS: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;            // [R, N, C]
@group(0) @binding(2) var<storage, read> slots: array<u32>;        // [R]
@group(0) @binding(3) var<storage, read> positions: array<u32>;    // [R], of the first new position
@group(0) @binding(4) var<storage, read_write> cache: array<f32>;  // [SLOTS, M, C]

@compute @workgroup_size(64)
fn write(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  let row = at / params.C / params.N;
  if (row >= params.R) {
    return;
  }
  let position = positions[row] + at / params.C % params.N;
  if (slots[row] < params.SLOTS && position < params.M) {
    cache[(slots[row] * params.M + position) * params.C + at % params.C] = x[at];
  }
}
