// Move rows  to[b, to_start + i, c] = from[b, from_start + i, c]    for i < rows
//
// Shapes     from [B, from_rows, C], to [B, to_rows, C]. Row-major.
// Grid       one thread per moved element, workgroups folded over x and y.
// Entries    move_rows  writes or adds to (params.add) rows to_start … to_start + rows - 1 of to
// Numerics   moves; an f32 sum when adding.
// Source     none needed.
// Twins      lib/ops/move_rows.ts, lib/ops/prefix.ts, tests/ops/prefix_test.ts

struct Params {
  B: u32,
  C: u32,
  rows: u32,
  from_rows: u32,
  from_start: u32,
  to_rows: u32,
  to_start: u32,
  add: u32,
}

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> from_values: array<f32>;      // [B, from_rows, C]
@group(0) @binding(2) var<storage, read_write> to_values: array<f32>;  // [B, to_rows, C]

@compute @workgroup_size(WORKGROUP)
fn move_rows(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = params.rows * params.C;
  let index = (group.x + group.y * groups.x) * WORKGROUP + lane;
  if (index >= params.B * block) {
    return;
  }
  let b = index / block;
  let rest = index % block;
  let value = from_values[(b * params.from_rows + params.from_start) * params.C + rest];
  let at = (b * params.to_rows + params.to_start) * params.C + rest;
  to_values[at] = select(value, to_values[at] + value, params.add == 1u);
}
