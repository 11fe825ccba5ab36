// Attention for software adapters with subgroups of 8 lanes: the formula, shapes and results of attention.wgsl. There a
// load costs as much as 60 multiply-adds and an exchange with a literal lane 2, so a subgroup loads every element once.
//
// Shapes     B batch, S sequence, H query heads, K key/value heads, DH head width (a multiple of 4, at most 96).
//            A block is eight queries of one head; the blocks of a key head are numbered query block * H/K + head.
// Grid       x: three blocks of a key head, y: b * K + key head. 8 lanes: a lane is a query while queries are loaded, a
//            key while scores are summed (16 keys a round) and four channels of every 32 while values are summed.
// Entries    forward  writes  y, stats[0] = lse
// Numerics   as attention.wgsl.
// Source     Dao 2023, arXiv:2307.08691, alg. 1.
// Twins      lib/ops/attention.ts, tests/ops/attention_test.ts, kernels/attention.wgsl

struct Params {
  S: u32,
  H: u32,
  K: u32,
  causal: u32,
  masked: u32,
  scale: f32,
}

const DH: u32 = 64u;
const WIDTH: u32 = DH / 4u;            // vec4 of a head
const PARTS: u32 = (WIDTH + 7u) / 8u;  // vec4 of an output row in each lane
const LOWEST: f32 = -1e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;          // [B, S, H * DH]
@group(0) @binding(2) var<storage, read> k: array<vec4f>;          // [B, S, K * DH]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;          // [B, S, K * DH]
@group(0) @binding(4) var<storage, read> key_mask: array<u32>;     // [B, S]
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;    // [B, S, H * DH]
@group(0) @binding(6) var<storage, read_write> stats: array<f32>;  // [2, B, H, S]: lse; the second half is backward's

struct Block {
  valid: bool,
  query: u32,  // first of eight
  head: u32,
  row: u32,    // where the lane's query starts, in vec4
}

// Four queries, one component each.
struct Quad {
  near: vec4f,     // weights of the round's first eight keys, a key a lane
  far: vec4f,      // of its second eight
  highest: vec4f,  // score so far
  total: vec4f,    // of this lane's weights so far
  shrink: vec4f,   // of what was summed before this round
}

// 24 queries. Arrays are indexed with literals only, so that the driver keeps them in registers.
alias Weights = array<vec4f, 6>;
alias Sums = array<mat4x4f, 6>;  // [quad][query][channel]

fn block_of(group: vec3u, n: u32, lane: u32) -> Block {
  let heads = params.H / params.K;
  let count = heads * ((params.S + 7u) / 8u);
  let number = min(group.x * 3u + n, count - 1u);
  let query = number / heads * 8u;
  let head = group.y % params.K * heads + number % heads;
  let row = group.y / params.K * params.S + min(query + lane, params.S - 1u);
  return Block(group.x * 3u + n < count, query, head, (row * params.H + head) * WIDTH);
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

fn max_over_lanes(x: vec4f) -> vec4f {
  let pairs = max(x, subgroupShuffleXor(x, 1u));
  let fours = max(pairs, subgroupShuffleXor(pairs, 2u));
  return max(fours, subgroupShuffleXor(fours, 4u));
}

fn sum_over_lanes(x: vec4f) -> vec4f {
  let pairs = x + subgroupShuffleXor(x, 1u);
  let fours = pairs + subgroupShuffleXor(pairs, 2u);
  return fours + subgroupShuffleXor(fours, 4u);
}

// Products of the lane's near and far key with four queries.
fn score(near_key: vec4f, far_key: vec4f, queries: mat4x4f) -> mat2x4f {
  return mat2x4f(near_key * queries, far_key * queries);
}

// Scores become weights, and the maximum and the total move on.
fn weigh(quad: Quad, scores: mat2x4f, query: u32, key: u32, open_near: bool, open_far: bool) -> Quad {
  let queries = query + vec4u(0u, 1u, 2u, 3u);
  let near_open = vec4<bool>(open_near) & (queries >= vec4u(key * params.causal));
  let far_open = vec4<bool>(open_far) & (queries >= vec4u((key + 8u) * params.causal));
  let near = select(vec4f(LOWEST), scores[0] * params.scale, near_open);
  let far = select(vec4f(LOWEST), scores[1] * params.scale, far_open);
  let highest = max(quad.highest, max_over_lanes(max(near, far)));
  let shrink = exp(quad.highest - highest);
  let p_near = select(vec4f(), exp(near - highest), near_open);
  let p_far = select(vec4f(), exp(far - highest), far_open);
  return Quad(p_near, p_far, highest, quad.total * shrink + p_near + p_far, shrink);
}

fn scale_rows(rows: mat4x4f, by: vec4f) -> mat4x4f {
  return mat4x4f(rows[0] * by.x, rows[1] * by.y, rows[2] * by.z, rows[3] * by.w);
}

fn outer(p: vec4f, values: vec4f) -> mat4x4f {
  return mat4x4f(values * p.x, values * p.y, values * p.z, values * p.w);
}

// Adds one key's values, four channels a lane, by the weights that lane `key` holds; `key` must be a literal.
fn sum_key(sums: Sums, p: Weights, key: u32, values: vec4f) -> Sums {
  return Sums(
    sums[0] + outer(subgroupShuffle(p[0], key), values),
    sums[1] + outer(subgroupShuffle(p[1], key), values),
    sums[2] + outer(subgroupShuffle(p[2], key), values),
    sums[3] + outer(subgroupShuffle(p[3], key), values),
    sums[4] + outer(subgroupShuffle(p[4], key), values),
    sums[5] + outer(subgroupShuffle(p[5], key), values),
  );
}

fn value_at(group: vec3u, key: u32, channel: u32) -> vec4f {
  let row = group.y / params.K * params.S + min(key, params.S - 1u);
  return v[(row * params.K + group.y % params.K) * WIDTH + min(channel, WIDTH - 1u)];
}

fn sum_eight(sums: Sums, p: Weights, group: vec3u, key: u32, channel: u32) -> Sums {
  var next = sum_key(sums, p, 0u, value_at(group, key, channel));
  next = sum_key(next, p, 1u, value_at(group, key + 1u, channel));
  next = sum_key(next, p, 2u, value_at(group, key + 2u, channel));
  next = sum_key(next, p, 3u, value_at(group, key + 3u, channel));
  next = sum_key(next, p, 4u, value_at(group, key + 4u, channel));
  next = sum_key(next, p, 5u, value_at(group, key + 5u, channel));
  next = sum_key(next, p, 6u, value_at(group, key + 6u, channel));
  return sum_key(next, p, 7u, value_at(group, key + 7u, channel));
}

// Moves one part of the sums on by a round of 16 keys.
fn sum_round(sums: Sums, quads: array<Quad, 6>, group: vec3u, key: u32, channel: u32) -> Sums {
  let scaled = Sums(
    scale_rows(sums[0], quads[0].shrink),
    scale_rows(sums[1], quads[1].shrink),
    scale_rows(sums[2], quads[2].shrink),
    scale_rows(sums[3], quads[3].shrink),
    scale_rows(sums[4], quads[4].shrink),
    scale_rows(sums[5], quads[5].shrink),
  );
  let near = Weights(quads[0].near, quads[1].near, quads[2].near, quads[3].near, quads[4].near, quads[5].near);
  let far = Weights(quads[0].far, quads[1].far, quads[2].far, quads[3].far, quads[4].far, quads[5].far);
  return sum_eight(sum_eight(scaled, near, group, key, channel), far, group, key + 8u, channel);
}

fn store_row(block: Block, b: u32, n: u32, channel: u32, row: vec4f) {
  let query = block.query + n;
  if (block.valid && query < params.S && channel < WIDTH) {
    y[((b * params.S + query) * params.H + block.head) * WIDTH + channel] = row;
  }
}

fn store_quad(block: Block, quad: Quad, sums: mat4x4f, b: u32, n: u32, channel: u32) {
  let total = sum_over_lanes(quad.total);
  let rows = scale_rows(sums, select(vec4f(), 1.0 / total, total > vec4f()));
  store_row(block, b, n, channel, rows[0]);
  store_row(block, b, n + 1u, channel, rows[1]);
  store_row(block, b, n + 2u, channel, rows[2]);
  store_row(block, b, n + 3u, channel, rows[3]);
}

fn store_part(blocks: array<Block, 3>, quads: array<Quad, 6>, sums: Sums, b: u32, channel: u32) {
  store_quad(blocks[0], quads[0], sums[0], b, 0u, channel);
  store_quad(blocks[0], quads[1], sums[1], b, 4u, channel);
  store_quad(blocks[1], quads[2], sums[2], b, 0u, channel);
  store_quad(blocks[1], quads[3], sums[3], b, 4u, channel);
  store_quad(blocks[2], quads[4], sums[4], b, 0u, channel);
  store_quad(blocks[2], quads[5], sums[5], b, 4u, channel);
}

// Lane n of the first four stores query n of the low quad, of the last four that of the high quad.
fn store_lse(block: Block, low_quad: Quad, high_quad: Quad, b: u32, lane: u32) {
  let low_total = sum_over_lanes(low_quad.total);
  let high_total = sum_over_lanes(high_quad.total);
  let total = select(high_total, low_total, lane < 4u);
  let highest = select(high_quad.highest, low_quad.highest, lane < 4u);
  let lse = select(vec4f(-LOWEST), highest + log(total), total > vec4f());
  let pair = select(lse.xy, lse.zw, (lane & 2u) == 2u);
  if (block.valid && block.query + lane < params.S) {
    stats[(b * params.H + block.head) * params.S + block.query + lane] = select(pair.x, pair.y, (lane & 1u) == 1u);
  }
}

@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let b = group.y / params.K;
  let last = params.S - 1u;
  let blocks = array(block_of(group, 0u, lane), block_of(group, 1u, lane), block_of(group, 2u, lane));
  let stop = select(params.S, min(params.S, blocks[2].query + 8u), params.causal == 1u);
  let none = Quad(vec4f(), vec4f(), vec4f(LOWEST), vec4f(), vec4f());
  var quads = array(none, none, none, none, none, none);
  var part0: Sums;
  var part1: Sums;
  var part2: Sums;
  for (var j0 = 0u; j0 < stop; j0 += 16u) {
    let near = ((b * params.S + min(j0 + lane, last)) * params.K + group.y % params.K) * WIDTH;
    let far = ((b * params.S + min(j0 + 8u + lane, last)) * params.K + group.y % params.K) * WIDTH;
    // [quad][near, far][query]; without the written zero, naga clears it in the first round only.
    var scores = array<mat2x4f, 6>();
    for (var d = 0u; d < WIDTH; d++) {
      let near_key = k[near + d];
      let far_key = k[far + d];
      let q0 = q[blocks[0].row + d];
      let q1 = q[blocks[1].row + d];
      let q2 = q[blocks[2].row + d];
      scores[0] += score(near_key, far_key, low(q0));
      scores[1] += score(near_key, far_key, high(q0));
      scores[2] += score(near_key, far_key, low(q1));
      scores[3] += score(near_key, far_key, high(q1));
      scores[4] += score(near_key, far_key, low(q2));
      scores[5] += score(near_key, far_key, high(q2));
    }
    let open_near = is_open(j0 + lane, b);
    let open_far = is_open(j0 + 8u + lane, b);
    quads[0] = weigh(quads[0], scores[0], blocks[0].query, j0 + lane, open_near, open_far);
    quads[1] = weigh(quads[1], scores[1], blocks[0].query + 4u, j0 + lane, open_near, open_far);
    quads[2] = weigh(quads[2], scores[2], blocks[1].query, j0 + lane, open_near, open_far);
    quads[3] = weigh(quads[3], scores[3], blocks[1].query + 4u, j0 + lane, open_near, open_far);
    quads[4] = weigh(quads[4], scores[4], blocks[2].query, j0 + lane, open_near, open_far);
    quads[5] = weigh(quads[5], scores[5], blocks[2].query + 4u, j0 + lane, open_near, open_far);
    part0 = sum_round(part0, quads, group, j0, lane);
    if (PARTS > 1u) {
      part1 = sum_round(part1, quads, group, j0, lane + 8u);
    }
    if (PARTS > 2u) {
      part2 = sum_round(part2, quads, group, j0, lane + 16u);
    }
  }
  store_part(blocks, quads, part0, b, lane);
  if (PARTS > 1u) {
    store_part(blocks, quads, part1, b, lane + 8u);
  }
  if (PARTS > 2u) {
    store_part(blocks, quads, part2, b, lane + 16u);
  }
  store_lse(blocks[0], quads[0], quads[1], b, lane);
  store_lse(blocks[1], quads[2], quads[3], b, lane);
  store_lse(blocks[2], quads[4], quads[5], b, lane);
}
