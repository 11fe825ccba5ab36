// Attention of one new token per row for software adapters with subgroups of 8 lanes: the formula, shapes and results of
// attention_decode.wgsl without workgroup memory.
//
// Shapes     as in attention_decode.wgsl, DH a multiple of 4, at most 96.
// Grid       x: key head * ceil(G/4) + which four query heads of the group, y: row. 8 lanes: a lane is a key while scores
//            are summed (32 keys a round), and four channels of every 32 while queries are loaded and values are summed.
// Entries    decode  writes  y
// Numerics   f32, online softmax over rounds of 32 keys. A row of length 0 gives zeros.
// Source     as attention_decode.wgsl.
// Twins      lib/ops/attention_decode.ts, tests/ops/attention_decode_test.ts, kernels/attention_decode.wgsl

struct Params {
  H: u32,
  K: u32,
  M: u32,
  scale: f32,
}

const DH: u32 = 64u;
const WIDTH: u32 = DH / 4u;            // vec4 of a head
const PARTS: u32 = (WIDTH + 7u) / 8u;  // vec4 of a head in each lane
const LOWEST: f32 = -1e30;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;        // [R, H * DH]
@group(0) @binding(2) var<storage, read> k_cache: array<vec4f>;  // [slots, M, K * DH]
@group(0) @binding(3) var<storage, read> v_cache: array<vec4f>;  // [slots, M, K * DH]
@group(0) @binding(4) var<storage, read> table: array<u32>;      // [R, M], slot of each position
@group(0) @binding(5) var<storage, read> lengths: array<u32>;    // [R], positions in use, the new one included
@group(0) @binding(6) var<storage, read_write> y: array<vec4f>;  // [R, H * DH]

// [key of the lane: j0 + lane, + 8, + 16, + 24], one component a head. Indexed with literals only, see sum_key.
alias Scores = array<vec4f, 4>;

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

// Where the head of a position of a row starts in the caches, in vec4.
fn start_of(row: u32, position: u32, key_head: u32) -> u32 {
  return ((table[row * params.M + position] * params.M + position) * params.K + key_head) * WIDTH;
}

// The lane's four channels of four heads, [head][channel]; past the last head, the last again.
fn load_queries(first: u32, count: u32, channel: u32) -> mat4x4f {
  let at = (first + min(vec4u(0u, 1u, 2u, 3u), vec4u(count - 1u))) * WIDTH + min(channel, WIDTH - 1u);
  return mat4x4f(q[at.x], q[at.y], q[at.z], q[at.w]);
}

// Adds four channels' products of four keys a lane with four heads, which lane `at` holds; `at` must be a literal.
fn score_channels(s: Scores, queries: mat4x4f, starts: vec4u, part: u32, at: u32) -> Scores {
  let d = part * 8u + at;
  if (d >= WIDTH) {
    return s;
  }
  let heads = mat4x4f(
    subgroupShuffle(queries[0], at),
    subgroupShuffle(queries[1], at),
    subgroupShuffle(queries[2], at),
    subgroupShuffle(queries[3], at),
  );
  return Scores(
    s[0] + k_cache[starts.x + d] * heads,
    s[1] + k_cache[starts.y + d] * heads,
    s[2] + k_cache[starts.z + d] * heads,
    s[3] + k_cache[starts.w + d] * heads,
  );
}

fn score_part(s: Scores, queries: mat4x4f, starts: vec4u, part: u32) -> Scores {
  var next = score_channels(s, queries, starts, part, 0u);
  next = score_channels(next, queries, starts, part, 1u);
  next = score_channels(next, queries, starts, part, 2u);
  next = score_channels(next, queries, starts, part, 3u);
  next = score_channels(next, queries, starts, part, 4u);
  next = score_channels(next, queries, starts, part, 5u);
  next = score_channels(next, queries, starts, part, 6u);
  return score_channels(next, queries, starts, part, 7u);
}

// Adds the value of the key in lane `at`, four channels a lane; `at` must be a literal, which makes an exchange one
// instruction.
fn sum_key(sums: mat4x4f, weights: vec4f, start: u32, channel: u32, at: u32) -> mat4x4f {
  let p = subgroupShuffle(weights, at);
  let values = v_cache[subgroupShuffle(start, at) + min(channel, WIDTH - 1u)];
  return sums + mat4x4f(values * p.x, values * p.y, values * p.z, values * p.w);
}

fn sum_eight(sums: mat4x4f, weights: vec4f, start: u32, channel: u32) -> mat4x4f {
  var next = sum_key(sums, weights, start, channel, 0u);
  next = sum_key(next, weights, start, channel, 1u);
  next = sum_key(next, weights, start, channel, 2u);
  next = sum_key(next, weights, start, channel, 3u);
  next = sum_key(next, weights, start, channel, 4u);
  next = sum_key(next, weights, start, channel, 5u);
  next = sum_key(next, weights, start, channel, 6u);
  return sum_key(next, weights, start, channel, 7u);
}

// Moves a part's sums on by a round; eights of keys past the end are left out.
fn sum_part(sums: mat4x4f, p: Scores, starts: vec4u, shrink: vec4f, channel: u32, left: u32) -> mat4x4f {
  var next = mat4x4f(sums[0] * shrink.x, sums[1] * shrink.y, sums[2] * shrink.z, sums[3] * shrink.w);
  next = sum_eight(next, p[0], starts.x, channel);
  if (left > 8u) {
    next = sum_eight(next, p[1], starts.y, channel);
  }
  if (left > 16u) {
    next = sum_eight(next, p[2], starts.z, channel);
  }
  if (left > 24u) {
    next = sum_eight(next, p[3], starts.w, channel);
  }
  return next;
}

fn store_part(sums: mat4x4f, inverse: vec4f, first: u32, count: u32, channel: u32) {
  if (channel >= WIDTH) {
    return;
  }
  let at = first * WIDTH + channel;
  y[at] = sums[0] * inverse.x;
  if (count > 1u) {
    y[at + WIDTH] = sums[1] * inverse.y;
  }
  if (count > 2u) {
    y[at + 2u * WIDTH] = sums[2] * inverse.z;
  }
  if (count > 3u) {
    y[at + 3u * WIDTH] = sums[3] * inverse.w;
  }
}

@compute @workgroup_size(8)
fn decode(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let heads = params.H / params.K;
  let quads = (heads + 3u) / 4u;
  let key_head = group.x / quads;
  let count = min(4u, heads - group.x % quads * 4u);
  let first = group.y * params.H + key_head * heads + group.x % quads * 4u;
  let stop = lengths[group.y];
  let queries0 = load_queries(first, count, lane);
  let queries1 = load_queries(first, count, lane + 8u);
  let queries2 = load_queries(first, count, lane + 16u);
  var highest = vec4f(LOWEST);
  var total = vec4f();
  var sums0 = mat4x4f();  // [head][channel]
  var sums1 = mat4x4f();
  var sums2 = mat4x4f();
  for (var j0 = 0u; j0 < stop; j0 += 32u) {
    let keys = j0 + lane + vec4u(0u, 8u, 16u, 24u);
    let at = min(keys, vec4u(stop - 1u));
    let starts = vec4u(
      start_of(group.y, at.x, key_head),
      start_of(group.y, at.y, key_head),
      start_of(group.y, at.z, key_head),
      start_of(group.y, at.w, key_head),
    );
    var s = score_part(Scores(), queries0, starts, 0u);
    if (PARTS > 1u) {
      s = score_part(s, queries1, starts, 1u);
    }
    if (PARTS > 2u) {
      s = score_part(s, queries2, starts, 2u);
    }
    let s0 = select(vec4f(LOWEST), s[0] * params.scale, keys.x < stop);
    let s1 = select(vec4f(LOWEST), s[1] * params.scale, keys.y < stop);
    let s2 = select(vec4f(LOWEST), s[2] * params.scale, keys.z < stop);
    let s3 = select(vec4f(LOWEST), s[3] * params.scale, keys.w < stop);
    let before = highest;
    highest = max(before, max_over_lanes(max(max(s0, s1), max(s2, s3))));
    let shrink = exp(before - highest);
    // Every round holds a key, so the maximum is finite and what is past the end vanishes.
    let p = Scores(exp(s0 - highest), exp(s1 - highest), exp(s2 - highest), exp(s3 - highest));
    total = total * shrink + (p[0] + p[1] + p[2] + p[3]);
    sums0 = sum_part(sums0, p, starts, shrink, lane, stop - j0);
    if (PARTS > 1u) {
      sums1 = sum_part(sums1, p, starts, shrink, lane + 8u, stop - j0);
    }
    if (PARTS > 2u) {
      sums2 = sum_part(sums2, p, starts, shrink, lane + 16u, stop - j0);
    }
  }
  let whole = sum_over_lanes(total);
  let inverse = select(vec4f(), 1.0 / whole, whole > vec4f());
  store_part(sums0, inverse, first, count, lane);
  if (PARTS > 1u) {
    store_part(sums1, inverse, first, count, lane + 8u);
  }
  if (PARTS > 2u) {
    store_part(sums2, inverse, first, count, lane + 16u);
  }
}
