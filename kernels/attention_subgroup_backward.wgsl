// Attention backward for software adapters with subgroups of 8 lanes: the formula, shapes and results of
// attention_backward.wgsl in the manner of attention_subgroup.wgsl.
//
// Shapes     as in attention_subgroup.wgsl.
// Grid       backward_delta: one thread per (b, h, i), folded over x and y.
//            backward_q: as forward: x: three blocks of eight queries, y: b * K + key head; rounds of 16 keys.
//            backward_kv: x: 24 keys, y: b * K + key head; rounds of 16 queries of one of the group's heads.
// Entries    backward_delta  writes  stats[1] = delta
//            backward_q      writes or adds to (params.add) dq
//            backward_kv     writes or adds to (params.add, params.add_v) dk, dv
// Numerics   as attention_backward.wgsl.
// Source     Dao 2023, arXiv:2307.08691, alg. 2.
// Twins      lib/ops/attention.ts, tests/ops/attention_test.ts, kernels/attention_backward.wgsl

struct Params {
  B: u32,
  S: u32,
  H: u32,
  K: u32,
  causal: u32,
  masked: u32,
  scale: f32,
  add: u32,
  add_v: u32,
}

const DH: u32 = 64u;
const WIDTH: u32 = DH / 4u;            // vec4 of a head
const PARTS: u32 = (WIDTH + 7u) / 8u;  // vec4 of an output row in each lane

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;          // [B, S, H * DH]
@group(0) @binding(2) var<storage, read> k: array<vec4f>;          // [B, S, K * DH]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;          // [B, S, K * DH]
@group(0) @binding(4) var<storage, read> key_mask: array<u32>;     // [B, S]
@group(0) @binding(5) var<storage, read> y: array<vec4f>;          // [B, S, H * DH]
@group(0) @binding(6) var<storage, read> dy: array<vec4f>;         // [B, S, H * DH]
@group(0) @binding(7) var<storage, read> stats: array<f32>;        // [2, B, H, S]: lse, delta
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;  // [2, B, H, S]: stats again, to write its second half
@group(0) @binding(9) var<storage, read_write> dq: array<vec4f>;   // [B, S, H * DH]
@group(0) @binding(10) var<storage, read_write> dk: array<vec4f>;  // [B, S, K * DH]
@group(0) @binding(11) var<storage, read_write> dv: array<vec4f>;  // [B, S, K * DH]

struct Block {
  valid: bool,
  query: u32,  // first of eight
  head: u32,
}

// Of four output rows with the round's near and far eight columns: near in [0], far in [1].
struct Weighed {
  p: mat2x4f,
  ds: mat2x4f,
}

// 24 output rows. Arrays are indexed with literals only, so that the driver keeps them in registers.
alias Weights = array<vec4f, 6>;
alias Products = array<mat2x4f, 6>;  // [quad][near, far][row]
alias Sums = array<mat4x4f, 6>;      // [quad][row][channel]
alias Eight = array<vec4f, 8>;

fn block_of(group: vec3u, n: u32) -> Block {
  let heads = params.H / params.K;
  let count = heads * ((params.S + 7u) / 8u);
  let number = min(group.x * 3u + n, count - 1u);
  return Block(group.x * 3u + n < count, number / heads * 8u, group.y % params.K * heads + number % heads);
}

fn query_row(b: u32, query: u32, head: u32) -> u32 {
  return ((b * params.S + min(query, params.S - 1u)) * params.H + head) * WIDTH;
}

fn key_row(group: vec3u, key: u32) -> u32 {
  return ((group.y / params.K * params.S + min(key, params.S - 1u)) * params.K + group.y % params.K) * WIDTH;
}

fn stat_at(b: u32, query: u32, head: u32) -> u32 {
  return (b * params.H + head) * params.S + min(query, params.S - 1u);
}

fn is_open(key: u32, b: u32) -> bool {
  return key < params.S && (params.masked == 0u || key_mask[b * params.S + min(key, params.S - 1u)] == 1u);
}

// [lane][channel] of the first and the second four lanes.
fn low(x: vec4f) -> mat4x4f {
  return mat4x4f(subgroupShuffle(x, 0u), subgroupShuffle(x, 1u), subgroupShuffle(x, 2u), subgroupShuffle(x, 3u));
}

fn high(x: vec4f) -> mat4x4f {
  return mat4x4f(subgroupShuffle(x, 4u), subgroupShuffle(x, 5u), subgroupShuffle(x, 6u), subgroupShuffle(x, 7u));
}

fn low_four(x: f32) -> vec4f {
  return vec4f(subgroupShuffle(x, 0u), subgroupShuffle(x, 1u), subgroupShuffle(x, 2u), subgroupShuffle(x, 3u));
}

fn high_four(x: f32) -> vec4f {
  return vec4f(subgroupShuffle(x, 4u), subgroupShuffle(x, 5u), subgroupShuffle(x, 6u), subgroupShuffle(x, 7u));
}

// Products of the lane's near and far column with 24 rows, of which each lane holds one of every eight.
fn products(near: vec4f, far: vec4f, a: vec4f, b: vec4f, c: vec4f) -> Products {
  return Products(
    mat2x4f(near * low(a), far * low(a)),
    mat2x4f(near * high(a), far * high(a)),
    mat2x4f(near * low(b), far * low(b)),
    mat2x4f(near * high(b), far * high(b)),
    mat2x4f(near * low(c), far * low(c)),
    mat2x4f(near * high(c), far * high(c)),
  );
}

fn add_products(x: Products, z: Products) -> Products {
  return Products(x[0] + z[0], x[1] + z[1], x[2] + z[2], x[3] + z[3], x[4] + z[4], x[5] + z[5]);
}

fn outer(p: vec4f, values: vec4f) -> mat4x4f {
  return mat4x4f(values * p.x, values * p.y, values * p.z, values * p.w);
}

// Adds one column's values, four channels a lane, by the weights that lane `at` holds; `at` must be a literal.
fn sum_column(sums: Sums, p: Weights, at: u32, values: vec4f) -> Sums {
  return Sums(
    sums[0] + outer(subgroupShuffle(p[0], at), values),
    sums[1] + outer(subgroupShuffle(p[1], at), values),
    sums[2] + outer(subgroupShuffle(p[2], at), values),
    sums[3] + outer(subgroupShuffle(p[3], at), values),
    sums[4] + outer(subgroupShuffle(p[4], at), values),
    sums[5] + outer(subgroupShuffle(p[5], at), values),
  );
}

fn sum_eight(sums: Sums, p: Weights, values: Eight) -> Sums {
  var next = sum_column(sums, p, 0u, values[0]);
  next = sum_column(next, p, 1u, values[1]);
  next = sum_column(next, p, 2u, values[2]);
  next = sum_column(next, p, 3u, values[3]);
  next = sum_column(next, p, 4u, values[4]);
  next = sum_column(next, p, 5u, values[5]);
  next = sum_column(next, p, 6u, values[6]);
  return sum_column(next, p, 7u, values[7]);
}

@compute @workgroup_size(64)
fn backward_delta(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  let count = params.B * params.H * params.S;
  if (at >= count) {
    return;
  }
  let row = query_row(at / params.S / params.H, at % params.S, at / params.S % params.H);
  var sum = 0.0;
  for (var d = 0u; d < WIDTH; d++) {
    sum += dot(dy[row + d], y[row + d]);
  }
  delta[count + at] = sum;
}

// ---- dq: rows are queries, columns are keys

fn weigh_keys(
  query: u32,
  lse: vec4f,
  shift: vec4f,
  s: mat2x4f,
  dp: mat2x4f,
  key: u32,
  open_near: bool,
  open_far: bool,
) -> mat2x4f {
  let queries = query + vec4u(0u, 1u, 2u, 3u);
  let near_open = vec4<bool>(open_near) & (queries >= vec4u(key * params.causal));
  let far_open = vec4<bool>(open_far) & (queries >= vec4u((key + 8u) * params.causal));
  let near = select(vec4f(), exp(s[0] * params.scale - lse), near_open);
  let far = select(vec4f(), exp(s[1] * params.scale - lse), far_open);
  return mat2x4f(near * (dp[0] - shift) * params.scale, far * (dp[1] - shift) * params.scale);
}

fn eight_keys(group: vec3u, key: u32, channel: u32) -> Eight {
  let d = min(channel, WIDTH - 1u);
  return Eight(
    k[key_row(group, key) + d],
    k[key_row(group, key + 1u) + d],
    k[key_row(group, key + 2u) + d],
    k[key_row(group, key + 3u) + d],
    k[key_row(group, key + 4u) + d],
    k[key_row(group, key + 5u) + d],
    k[key_row(group, key + 6u) + d],
    k[key_row(group, key + 7u) + d],
  );
}

fn sum_keys(sums: Sums, near: Weights, far: Weights, group: vec3u, key: u32, channel: u32) -> Sums {
  let half = sum_eight(sums, near, eight_keys(group, key, channel));
  return sum_eight(half, far, eight_keys(group, key + 8u, channel));
}

fn store_dq_row(block: Block, b: u32, n: u32, channel: u32, row: vec4f) {
  if (block.valid && block.query + n < params.S && channel < WIDTH) {
    let at = query_row(b, block.query + n, block.head) + channel;
    if (params.add == 1u) {
      dq[at] += row;
    } else {
      dq[at] = row;
    }
  }
}

fn store_dq_block(block: Block, b: u32, channel: u32, first: mat4x4f, second: mat4x4f) {
  store_dq_row(block, b, 0u, channel, first[0]);
  store_dq_row(block, b, 1u, channel, first[1]);
  store_dq_row(block, b, 2u, channel, first[2]);
  store_dq_row(block, b, 3u, channel, first[3]);
  store_dq_row(block, b, 4u, channel, second[0]);
  store_dq_row(block, b, 5u, channel, second[1]);
  store_dq_row(block, b, 6u, channel, second[2]);
  store_dq_row(block, b, 7u, channel, second[3]);
}

fn store_dq(blocks: array<Block, 3>, sums: Sums, b: u32, channel: u32) {
  store_dq_block(blocks[0], b, channel, sums[0], sums[1]);
  store_dq_block(blocks[1], b, channel, sums[2], sums[3]);
  store_dq_block(blocks[2], b, channel, sums[4], sums[5]);
}

@compute @workgroup_size(8)
fn backward_q(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let b = group.y / params.K;
  let blocks = array(block_of(group, 0u), block_of(group, 1u), block_of(group, 2u));
  let rows = vec3u(
    query_row(b, blocks[0].query + lane, blocks[0].head),
    query_row(b, blocks[1].query + lane, blocks[1].head),
    query_row(b, blocks[2].query + lane, blocks[2].head),
  );
  let at = vec3u(
    stat_at(b, blocks[0].query + lane, blocks[0].head),
    stat_at(b, blocks[1].query + lane, blocks[1].head),
    stat_at(b, blocks[2].query + lane, blocks[2].head),
  );
  let lse = vec3f(stats[at.x], stats[at.y], stats[at.z]);
  let second = at + params.B * params.H * params.S;
  let shift = vec3f(stats[second.x], stats[second.y], stats[second.z]);
  let stop = select(params.S, min(params.S, blocks[2].query + 8u), params.causal == 1u);
  var part0: Sums;
  var part1: Sums;
  var part2: Sums;
  for (var j0 = 0u; j0 < stop; j0 += 16u) {
    let key = j0 + lane;
    let near = key_row(group, key);
    let far = key_row(group, key + 8u);
    // Without the written zeros, naga clears variables in the first round only.
    var s = Products();
    var dp = Products();
    for (var d = 0u; d < WIDTH; d++) {
      s = add_products(s, products(k[near + d], k[far + d], q[rows.x + d], q[rows.y + d], q[rows.z + d]));
      dp = add_products(dp, products(v[near + d], v[far + d], dy[rows.x + d], dy[rows.y + d], dy[rows.z + d]));
    }
    let near_open = is_open(key, b);
    let far_open = is_open(key + 8u, b);
    let q0 = blocks[0].query;
    let q1 = blocks[1].query;
    let q2 = blocks[2].query;
    let w0 = weigh_keys(q0, low_four(lse.x), low_four(shift.x), s[0], dp[0], key, near_open, far_open);
    let w1 = weigh_keys(q0 + 4u, high_four(lse.x), high_four(shift.x), s[1], dp[1], key, near_open, far_open);
    let w2 = weigh_keys(q1, low_four(lse.y), low_four(shift.y), s[2], dp[2], key, near_open, far_open);
    let w3 = weigh_keys(q1 + 4u, high_four(lse.y), high_four(shift.y), s[3], dp[3], key, near_open, far_open);
    let w4 = weigh_keys(q2, low_four(lse.z), low_four(shift.z), s[4], dp[4], key, near_open, far_open);
    let w5 = weigh_keys(q2 + 4u, high_four(lse.z), high_four(shift.z), s[5], dp[5], key, near_open, far_open);
    let ds_near = Weights(w0[0], w1[0], w2[0], w3[0], w4[0], w5[0]);
    let ds_far = Weights(w0[1], w1[1], w2[1], w3[1], w4[1], w5[1]);
    part0 = sum_keys(part0, ds_near, ds_far, group, j0, lane);
    if (PARTS > 1u) {
      part1 = sum_keys(part1, ds_near, ds_far, group, j0, lane + 8u);
    }
    if (PARTS > 2u) {
      part2 = sum_keys(part2, ds_near, ds_far, group, j0, lane + 16u);
    }
  }
  store_dq(blocks, part0, b, lane);
  if (PARTS > 1u) {
    store_dq(blocks, part1, b, lane + 8u);
  }
  if (PARTS > 2u) {
    store_dq(blocks, part2, b, lane + 16u);
  }
}

// ---- dk, dv: rows are keys, columns are queries

struct Columns {
  lse: vec2f,  // of the lane's near and far query
  shift: vec2f,
}

fn weigh_queries(c: Columns, key: u32, open: vec4<bool>, s: mat2x4f, dp: mat2x4f, query: u32) -> Weighed {
  let keys = key + vec4u(0u, 1u, 2u, 3u);
  let near_open = open & vec4<bool>(query < params.S) & (vec4u(query) >= keys * params.causal);
  let far_open = open & vec4<bool>(query + 8u < params.S) & (vec4u(query + 8u) >= keys * params.causal);
  let near = select(vec4f(), exp(s[0] * params.scale - c.lse.x), near_open);
  let far = select(vec4f(), exp(s[1] * params.scale - c.lse.y), far_open);
  let ds_near = near * (dp[0] - c.shift.x) * params.scale;
  let ds_far = far * (dp[1] - c.shift.y) * params.scale;
  return Weighed(mat2x4f(near, far), mat2x4f(ds_near, ds_far));
}

fn eight_queries(b: u32, query: u32, head: u32, channel: u32) -> Eight {
  let d = min(channel, WIDTH - 1u);
  return Eight(
    q[query_row(b, query, head) + d],
    q[query_row(b, query + 1u, head) + d],
    q[query_row(b, query + 2u, head) + d],
    q[query_row(b, query + 3u, head) + d],
    q[query_row(b, query + 4u, head) + d],
    q[query_row(b, query + 5u, head) + d],
    q[query_row(b, query + 6u, head) + d],
    q[query_row(b, query + 7u, head) + d],
  );
}

fn eight_gradients(b: u32, query: u32, head: u32, channel: u32) -> Eight {
  let d = min(channel, WIDTH - 1u);
  return Eight(
    dy[query_row(b, query, head) + d],
    dy[query_row(b, query + 1u, head) + d],
    dy[query_row(b, query + 2u, head) + d],
    dy[query_row(b, query + 3u, head) + d],
    dy[query_row(b, query + 4u, head) + d],
    dy[query_row(b, query + 5u, head) + d],
    dy[query_row(b, query + 6u, head) + d],
    dy[query_row(b, query + 7u, head) + d],
  );
}

fn sum_queries(sums: Sums, near: Weights, far: Weights, b: u32, query: u32, head: u32, channel: u32) -> Sums {
  let half = sum_eight(sums, near, eight_queries(b, query, head, channel));
  return sum_eight(half, far, eight_queries(b, query + 8u, head, channel));
}

fn sum_gradients(sums: Sums, near: Weights, far: Weights, b: u32, query: u32, head: u32, channel: u32) -> Sums {
  let half = sum_eight(sums, near, eight_gradients(b, query, head, channel));
  return sum_eight(half, far, eight_gradients(b, query + 8u, head, channel));
}

fn store_kv_row(group: vec3u, key: u32, channel: u32, dk_row: vec4f, dv_row: vec4f) {
  if (key < params.S && channel < WIDTH) {
    let at = key_row(group, key) + channel;
    dk[at] = dk_row + select(vec4f(), dk[at], params.add == 1u);
    dv[at] = dv_row + select(vec4f(), dv[at], params.add_v == 1u);
  }
}

fn store_kv_quad(group: vec3u, key: u32, channel: u32, dk_rows: mat4x4f, dv_rows: mat4x4f) {
  store_kv_row(group, key, channel, dk_rows[0], dv_rows[0]);
  store_kv_row(group, key + 1u, channel, dk_rows[1], dv_rows[1]);
  store_kv_row(group, key + 2u, channel, dk_rows[2], dv_rows[2]);
  store_kv_row(group, key + 3u, channel, dk_rows[3], dv_rows[3]);
}

fn store_kv(group: vec3u, key: u32, channel: u32, dk_sums: Sums, dv_sums: Sums) {
  store_kv_quad(group, key, channel, dk_sums[0], dv_sums[0]);
  store_kv_quad(group, key + 4u, channel, dk_sums[1], dv_sums[1]);
  store_kv_quad(group, key + 8u, channel, dk_sums[2], dv_sums[2]);
  store_kv_quad(group, key + 12u, channel, dk_sums[3], dv_sums[3]);
  store_kv_quad(group, key + 16u, channel, dk_sums[4], dv_sums[4]);
  store_kv_quad(group, key + 20u, channel, dk_sums[5], dv_sums[5]);
}

@compute @workgroup_size(8)
fn backward_kv(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let b = group.y / params.K;
  let heads = params.H / params.K;
  let key = group.x * 24u;
  let rows = vec3u(key_row(group, key + lane), key_row(group, key + 8u + lane), key_row(group, key + 16u + lane));
  // 1 where the lane's key of each eight may be attended.
  let mine = select(
    vec3f(),
    vec3f(1.0),
    vec3<bool>(is_open(key + lane, b), is_open(key + 8u + lane, b), is_open(key + 16u + lane, b)),
  );
  var dk0: Sums;
  var dk1: Sums;
  var dk2: Sums;
  var dv0: Sums;
  var dv1: Sums;
  var dv2: Sums;
  for (var n = 0u; n < heads; n++) {
    let head = group.y % params.K * heads + n;
    for (var i0 = key * params.causal; i0 < params.S; i0 += 16u) {
      let query = i0 + lane;
      let near = query_row(b, query, head);
      let far = query_row(b, query + 8u, head);
      var s = Products();
      var dp = Products();
      for (var d = 0u; d < WIDTH; d++) {
        s = add_products(s, products(q[near + d], q[far + d], k[rows.x + d], k[rows.y + d], k[rows.z + d]));
        dp = add_products(dp, products(dy[near + d], dy[far + d], v[rows.x + d], v[rows.y + d], v[rows.z + d]));
      }
      let at = vec2u(stat_at(b, query, head), stat_at(b, query + 8u, head));
      let second = at + params.B * params.H * params.S;
      let c = Columns(vec2f(stats[at.x], stats[at.y]), vec2f(stats[second.x], stats[second.y]));
      let w0 = weigh_queries(c, key, low_four(mine.x) > vec4f(), s[0], dp[0], query);
      let w1 = weigh_queries(c, key + 4u, high_four(mine.x) > vec4f(), s[1], dp[1], query);
      let w2 = weigh_queries(c, key + 8u, low_four(mine.y) > vec4f(), s[2], dp[2], query);
      let w3 = weigh_queries(c, key + 12u, high_four(mine.y) > vec4f(), s[3], dp[3], query);
      let w4 = weigh_queries(c, key + 16u, low_four(mine.z) > vec4f(), s[4], dp[4], query);
      let w5 = weigh_queries(c, key + 20u, high_four(mine.z) > vec4f(), s[5], dp[5], query);
      let p_near = Weights(w0.p[0], w1.p[0], w2.p[0], w3.p[0], w4.p[0], w5.p[0]);
      let p_far = Weights(w0.p[1], w1.p[1], w2.p[1], w3.p[1], w4.p[1], w5.p[1]);
      let ds_near = Weights(w0.ds[0], w1.ds[0], w2.ds[0], w3.ds[0], w4.ds[0], w5.ds[0]);
      let ds_far = Weights(w0.ds[1], w1.ds[1], w2.ds[1], w3.ds[1], w4.ds[1], w5.ds[1]);
      dv0 = sum_gradients(dv0, p_near, p_far, b, i0, head, lane);
      dk0 = sum_queries(dk0, ds_near, ds_far, b, i0, head, lane);
      if (PARTS > 1u) {
        dv1 = sum_gradients(dv1, p_near, p_far, b, i0, head, lane + 8u);
        dk1 = sum_queries(dk1, ds_near, ds_far, b, i0, head, lane + 8u);
      }
      if (PARTS > 2u) {
        dv2 = sum_gradients(dv2, p_near, p_far, b, i0, head, lane + 16u);
        dk2 = sum_queries(dk2, ds_near, ds_far, b, i0, head, lane + 16u);
      }
    }
  }
  store_kv(group, key, lane, dk0, dv0);
  if (PARTS > 1u) {
    store_kv(group, key, lane + 8u, dk1, dv1);
  }
  if (PARTS > 2u) {
    store_kv(group, key, lane + 16u, dk2, dv2);
  }
}
