// Attention backward, from lse and delta[b,h,i] = dy[b,i,h,:].y[b,i,h,:]
//   p[i,j] = exp(scale * q[i].k[j] - lse[i])    ds[i,j] = p[i,j] * (dy[i].v[j] - delta[i]) * scale
//   dq[i] = sum_j ds[i,j] k[j]    dk[j] = sum_h,i ds[i,j] q[i]    dv[j] = sum_h,i p[i,j] dy[i]
//
// Shapes     as in attention.wgsl; h runs over the G = H/K query heads of a key/value head.
// Grid       backward_delta: one thread per (b, h, i), folded over x and y.
//            backward_q: x: tiles of 32 queries, y: b * H + h. backward_kv: x: tiles of 32 keys, y: b * K + key head.
//            64 threads as in attention.wgsl, in backward_kv with queries and keys exchanged.
// Entries    backward_delta  writes  stats[1] = delta
//            backward_q      writes or adds to (params.add) dq
//            backward_kv     writes or adds to (params.add, params.add_v) dk, dv; no atomics: one workgroup per output
// Numerics   f32; scores and weights are computed again.
// Source     Dao 2023, arXiv:2307.08691, alg. 2.
// Twins      lib/ops/attention.ts, tests/ops/attention_test.ts, kernels/attention.wgsl

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
const CHUNKS: u32 = (DH + 31u) / 32u;
const STRIDE: u32 = 9u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;           // [B, S, H * DH]
@group(0) @binding(2) var<storage, read> k: array<vec4f>;           // [B, S, K * DH]
@group(0) @binding(3) var<storage, read> v: array<vec4f>;           // [B, S, K * DH]
@group(0) @binding(4) var<storage, read> key_mask: array<u32>;      // [B, S]
@group(0) @binding(5) var<storage, read> y: array<f32>;             // [B, S, H * DH]
@group(0) @binding(6) var<storage, read> dy: array<vec4f>;          // [B, S, H * DH]
@group(0) @binding(7) var<storage, read> stats: array<f32>;         // [2, B, H, S]: lse, delta
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;   // [2, B, H, S]: stats again, to write its second half
@group(0) @binding(9) var<storage, read_write> dq: array<f32>;      // [B, S, H * DH]
@group(0) @binding(10) var<storage, read_write> dk: array<f32>;     // [B, S, K * DH]
@group(0) @binding(11) var<storage, read_write> dv: array<f32>;     // [B, S, K * DH]

var<workgroup> left: array<vec4f, 32u * STRIDE>;     // [output row, 4 channels]
var<workgroup> right: array<vec4f, 32u * STRIDE>;    // [summed row, 4 channels]
var<workgroup> weights: array<vec4f, 32u * STRIDE>;  // [summed row, ty], one component an output row

// Four channels of a row from d on, zero past the head. The first branch is decided when the kernel is compiled.
fn load_q(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), q[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(q[at.x][c.x], q[at.y][c.y], q[at.z][c.z], q[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn load_k(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), k[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(k[at.x][c.x], k[at.y][c.y], k[at.z][c.z], k[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn load_v(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), v[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(v[at.x][c.x], v[at.y][c.y], v[at.z][c.z], v[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn load_dy(row: u32, d: u32) -> vec4f {
  if (DH % 4u == 0u) {
    return select(vec4f(), dy[(row + d) / 4u], d < DH);
  }
  let i = row + d + vec4u(0u, 1u, 2u, 3u);
  let at = i / 4u;
  let c = i % 4u;
  let all = vec4f(dy[at.x][c.x], dy[at.y][c.y], dy[at.z][c.z], dy[at.w][c.w]);
  return select(vec4f(), all, i < vec4u(row + DH));
}

fn is_open(key: u32, b: u32) -> bool {
  return key < params.S && (params.masked == 0u || key_mask[b * params.S + min(key, params.S - 1u)] == 1u);
}

// [column n][row]: the tile's four columns tx + 8 n times its rows 4 ty .. 4 ty + 3, over the channels in memory.
fn tile_products(tx: u32, ty: u32) -> mat4x4f {
  var sums = mat4x4f();
  for (var d = 0u; d < 8u; d++) {
    let at = ty * 4u * STRIDE + d;
    let rows = mat4x4f(left[at], left[at + STRIDE], left[at + 2u * STRIDE], left[at + 3u * STRIDE]);
    let column = tx * STRIDE + d;
    sums += mat4x4f(
      right[column] * rows,
      right[column + 8u * STRIDE] * rows,
      right[column + 16u * STRIDE] * rows,
      right[column + 24u * STRIDE] * rows,
    );
  }
  return sums;
}

// [row][channel]: weights times the rows of `right`, over the tile's 32 summed rows.
fn weighted_sum(tx: u32, ty: u32) -> mat4x4f {
  var sum = mat4x4f();
  for (var n = 0u; n < 32u; n++) {
    let w = weights[n * STRIDE + ty];
    let values = right[n * STRIDE + tx];
    sum += mat4x4f(values * w.x, values * w.y, values * w.z, values * w.w);
  }
  return sum;
}

@compute @workgroup_size(64)
fn backward_delta(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * 64u;
  let count = params.B * params.H * params.S;
  if (at >= count) {
    return;
  }
  let h = at / params.S % params.H;
  let row = ((at / params.S / params.H * params.S + at % params.S) * params.H + h) * DH;
  var sum = 0.0;
  for (var d = 0u; d < DH; d += 4u) {
    let i = row + d;
    // load_dy gives zero past the head, where y is another head's.
    sum += dot(load_dy(row, d), vec4f(y[i], y[i + 1u], y[i + 2u], y[i + 3u]));
  }
  delta[count + at] = sum;
}

@compute @workgroup_size(64)
fn backward_q(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let tx = t % 8u;
  let ty = t / 8u;
  let b = group.y / params.H;
  let h = group.y % params.H;
  let i0 = group.x * 32u;
  let query = i0 + ty * 4u + vec4u(0u, 1u, 2u, 3u);
  let k_row = h / (params.H / params.K) * DH;
  let last = params.S - 1u;
  let stop = select(params.S, min(params.S, i0 + 32u), params.causal == 1u);
  let at = group.y * params.S + min(query, vec4u(last));
  let lse = vec4f(stats[at.x], stats[at.y], stats[at.z], stats[at.w]);
  let second = at + params.B * params.H * params.S;
  let shift = vec4f(stats[second.x], stats[second.y], stats[second.z], stats[second.w]);
  var sums: array<mat4x4f, CHUNKS>;  // [chunk][query][channel]
  for (var j0 = 0u; j0 < stop; j0 += 32u) {
    var s = mat4x4f();   // q.k   [key n][query]
    var dp = mat4x4f();  // dy.v
    for (var c = 0u; c < CHUNKS; c++) {
      for (var n = t; n < 256u; n += 64u) {
        let d = c * 32u + n % 8u * 4u;
        let slot = n / 8u * STRIDE + n % 8u;
        left[slot] = load_q(((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH, d);
        right[slot] = load_k((b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row, d);
      }
      workgroupBarrier();
      s += tile_products(tx, ty);
      workgroupBarrier();
      for (var n = t; n < 256u; n += 64u) {
        let d = c * 32u + n % 8u * 4u;
        let slot = n / 8u * STRIDE + n % 8u;
        left[slot] = load_dy(((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH, d);
        right[slot] = load_v((b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row, d);
      }
      workgroupBarrier();
      dp += tile_products(tx, ty);
      workgroupBarrier();
    }
    for (var n = 0u; n < 4u; n++) {
      let key = j0 + tx + 8u * n;
      let open = vec4<bool>(is_open(key, b)) & (query >= vec4u(key * params.causal));
      let p = select(vec4f(), exp(s[n] * params.scale - lse), open);
      weights[(tx + 8u * n) * STRIDE + ty] = p * (dp[n] - shift) * params.scale;
    }
    for (var c = 0u; c < CHUNKS; c++) {
      for (var n = t; n < 256u; n += 64u) {
        let row = (b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row;
        right[n / 8u * STRIDE + n % 8u] = load_k(row, c * 32u + n % 8u * 4u);
      }
      workgroupBarrier();
      sums[c] += weighted_sum(tx, ty);
      workgroupBarrier();
    }
  }
  for (var i = 0u; i < 4u && query[i] < params.S; i++) {
    let row = ((b * params.S + query[i]) * params.H + h) * DH;
    for (var n = 0u; n < CHUNKS * 4u; n++) {
      let d = n / 4u * 32u + tx * 4u + n % 4u;
      if (d < DH) {
        let gradient = sums[n / 4u][i][n % 4u];
        dq[row + d] = select(gradient, dq[row + d] + gradient, params.add == 1u);
      }
    }
  }
}

@compute @workgroup_size(64)
fn backward_kv(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let tx = t % 8u;
  let ty = t / 8u;
  let b = group.y / params.K;
  let heads = params.H / params.K;
  let j0 = group.x * 32u;
  let key = j0 + ty * 4u + vec4u(0u, 1u, 2u, 3u);
  let k_row = group.y % params.K * DH;
  let last = params.S - 1u;
  let open = vec4<bool>(is_open(key.x, b), is_open(key.y, b), is_open(key.z, b), is_open(key.w, b));
  var dk_sums: array<mat4x4f, CHUNKS>;  // [chunk][key][channel]
  var dv_sums: array<mat4x4f, CHUNKS>;
  for (var head = 0u; head < heads; head++) {
    let h = group.y % params.K * heads + head;
    for (var i0 = j0 * params.causal; i0 < params.S; i0 += 32u) {
      var s = mat4x4f();   // k.q   [query n][key]
      var dp = mat4x4f();  // v.dy
      for (var c = 0u; c < CHUNKS; c++) {
        for (var n = t; n < 256u; n += 64u) {
          let d = c * 32u + n % 8u * 4u;
          let slot = n / 8u * STRIDE + n % 8u;
          left[slot] = load_k((b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row, d);
          right[slot] = load_q(((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH, d);
        }
        workgroupBarrier();
        s += tile_products(tx, ty);
        workgroupBarrier();
        for (var n = t; n < 256u; n += 64u) {
          let d = c * 32u + n % 8u * 4u;
          let slot = n / 8u * STRIDE + n % 8u;
          left[slot] = load_v((b * params.S + min(j0 + n / 8u, last)) * params.K * DH + k_row, d);
          right[slot] = load_dy(((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH, d);
        }
        workgroupBarrier();
        dp += tile_products(tx, ty);
        workgroupBarrier();
      }
      for (var n = 0u; n < 4u; n++) {
        let query = i0 + tx + 8u * n;
        let at = (b * params.H + h) * params.S + min(query, last);
        let counts = open & vec4<bool>(query < params.S) & (vec4u(query) >= key * params.causal);
        s[n] = select(vec4f(), exp(s[n] * params.scale - stats[at]), counts);
        dp[n] = s[n] * (dp[n] - stats[at + params.B * params.H * params.S]) * params.scale;
        weights[(tx + 8u * n) * STRIDE + ty] = s[n];
      }
      for (var c = 0u; c < CHUNKS; c++) {
        for (var n = t; n < 256u; n += 64u) {
          let row = ((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH;
          right[n / 8u * STRIDE + n % 8u] = load_dy(row, c * 32u + n % 8u * 4u);
        }
        workgroupBarrier();
        dv_sums[c] += weighted_sum(tx, ty);
        workgroupBarrier();
      }
      for (var n = 0u; n < 4u; n++) {
        weights[(tx + 8u * n) * STRIDE + ty] = dp[n];
      }
      for (var c = 0u; c < CHUNKS; c++) {
        for (var n = t; n < 256u; n += 64u) {
          let row = ((b * params.S + min(i0 + n / 8u, last)) * params.H + h) * DH;
          right[n / 8u * STRIDE + n % 8u] = load_q(row, c * 32u + n % 8u * 4u);
        }
        workgroupBarrier();
        dk_sums[c] += weighted_sum(tx, ty);
        workgroupBarrier();
      }
    }
  }
  for (var i = 0u; i < 4u && key[i] < params.S; i++) {
    let row = (b * params.S + key[i]) * params.K * DH + k_row;
    for (var n = 0u; n < CHUNKS * 4u; n++) {
      let d = n / 4u * 32u + tx * 4u + n % 4u;
      if (d < DH) {
        let at = row + d;
        dk[at] = select(dk_sums[n / 4u][i][n % 4u], dk[at] + dk_sums[n / 4u][i][n % 4u], params.add == 1u);
        dv[at] = select(dv_sums[n / 4u][i][n % 4u], dv[at] + dv_sums[n / 4u][i][n % 4u], params.add_v == 1u);
      }
    }
  }
}
