// Embedding  y[n, c] = table[ids[n], c]
//            dtable[v, c] += sum over n with ids[n] = v of dy[n, c]
//
// Shapes     N ids, D channels; the table is seen through a window of its rows first_row … first_row + rows - 1.
// Grid       forward: one thread per element of y. link: one thread per id. backward: one workgroup per id.
//            Workgroups folded over x and y.
// Entries    forward   writes   the rows of y whose id lies in the window; with first_row = 0 also those whose id is not
//                               below V, as NaN, so that a wrong id is never a quiet one
//            link      writes   links: for every n the next place of the same id, and whether an earlier place has it
//            backward  adds to  the rows of dtable that occur; the first place of an id walks all of its places
// Numerics   f32 sums in the order of n: no atomics, the same bits every time. bf16 and f16 widen exactly.
// Source     none needed.
// Twins      lib/ops/embedding.ts, tests/ops/embedding_test.ts

struct Params {
  N: u32,
  D: u32,
  V: u32,
  first_row: u32,
  rows: u32,
  dtype: u32,    // 0: f32, 1: bf16, 2: f16
  nan_bits: u32, // NaN cannot be written as a constant in WGSL
}

const WORKGROUP: u32 = 64u;
const SEEN: u32 = 0x80000000u;
const NONE: u32 = 0x7fffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;              // [N]
@group(0) @binding(2) var<storage, read> table: array<u32>;            // [rows, D], bits; 16-bit types two to a u32
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // [N, D]
@group(0) @binding(4) var<storage, read_write> links: array<u32>;      // [N]
@group(0) @binding(5) var<storage, read> chain: array<u32>;            // [N], links as backward reads them
@group(0) @binding(6) var<storage, read> dy: array<f32>;               // [N, D]
@group(0) @binding(7) var<storage, read_write> dtable: array<f32>;     // [rows, D]

fn table_value(index: u32) -> f32 {
  if (params.dtype == 0u) {
    return bitcast<f32>(table[index]);
  }
  let word = table[index / 2u] >> (16u * (index % 2u));
  if (params.dtype == 1u) {
    return bitcast<f32>(word << 16u);
  }
  return unpack2x16float(word).x;
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (index >= params.N * params.D) {
    return;
  }
  let id = ids[index / params.D];
  if (id >= params.first_row && id - params.first_row < params.rows) {
    y[index] = table_value((id - params.first_row) * params.D + index % params.D);
  } else if (params.first_row == 0u && id >= params.V) {
    y[index] = bitcast<f32>(params.nan_bits);
  }
}

@compute @workgroup_size(WORKGROUP)
fn link(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (n >= params.N) {
    return;
  }
  let id = ids[n];
  var next = n + 1u;
  while (next < params.N && ids[next] != id) {
    next++;
  }
  var before = n;
  while (before > 0u && ids[before - 1u] != id) {
    before--;
  }
  links[n] = select(NONE, next, next < params.N) | select(0u, SEEN, before > 0u);
}

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = group.x + group.y * groups.x;
  if (n >= params.N || (chain[n] & SEEN) != 0u) {
    return;
  }
  let id = ids[n];
  if (id < params.first_row || id - params.first_row >= params.rows) {
    return;
  }
  for (var c = lane; c < params.D; c += WORKGROUP) {
    var sum = 0.0;
    for (var place = n; place < params.N; place = chain[place] & NONE) {
      sum += dy[place * params.D + c];
    }
    dtable[(id - params.first_row) * params.D + c] += sum;
  }
}
