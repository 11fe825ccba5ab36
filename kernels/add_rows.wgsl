// Row table  y[b,s,d] = x[b,s,d] + table[firstRow + s, d]        (learned position embeddings)
//            dtable[r,d] = sum_b dy[b, r - firstRow, d]
//
// Shapes     B samples of S rows of D channels; table of R rows, R >= firstRow + S. Row-major.
// Grid       forward: one thread per four elements of x, the last four padded. backward_table: one thread per
//            element of the table. Workgroups folded over x and y.
// Entries    forward         writes  y
//            backward_table  writes or adds to (params.add) dtable
// Numerics   sums in f32, in the order of the samples. bf16 and f16 tables are unpacked exactly.
// Source     Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1 (E_pos).
// Twins      lib/ops/add_rows.ts, tests/ops/add_rows_test.ts

struct Params {
  B: u32,
  S: u32,
  D: u32,
  R: u32,
  firstRow: u32,
  dtype: u32,  // of the table: 0 f32, 1 bf16, 2 f16
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;            // [B, S, D]
@group(0) @binding(2) var<storage, read> table: array<u32>;          // [R, D], halves two to a u32, lower first
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;      // [B, S, D]
@group(0) @binding(4) var<storage, read> dy: array<f32>;             // [B, S, D]
@group(0) @binding(5) var<storage, read_write> dtable: array<f32>;   // [R, D]

fn entry(i: u32) -> f32 {
  if (params.dtype == 0u) {
    return bitcast<f32>(table[i]);
  }
  let pair = table[i / 2u];
  if (params.dtype == 1u) {
    return bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, i % 2u == 1u));
  }
  let halves = unpack2x16float(pair);
  return select(halves.x, halves.y, i % 2u == 1u);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  let plane = params.S * params.D;
  if (i * 4u >= params.B * plane) {
    return;
  }
  let at = params.firstRow * params.D;
  let first = 4u * i;
  y[i] = x[i] + vec4f(
    entry(at + first % plane),
    entry(at + (first + 1u) % plane),
    entry(at + (first + 2u) % plane),
    entry(at + (first + 3u) % plane),
  );
}

@compute @workgroup_size(WORKGROUP)
fn backward_table(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (i >= params.R * params.D) {
    return;
  }
  let plane = params.S * params.D;
  let start = params.firstRow * params.D;
  var sum = 0.0;
  if (i >= start && i < start + plane) {
    for (var b = 0u; b < params.B; b++) {
      sum += dy[b * plane + i - start];
    }
  }
  dtable[i] = select(sum, dtable[i] + sum, params.add == 1u);
}
