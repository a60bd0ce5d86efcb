// Matrix product of few rows, a linear layer for few images: a workgroup computes four columns of c, ROWS (1 or 4) rows at
// once. Its invocations share the terms out, each taking every GROUP-th four of k, and add up their sums in a tree of fixed
// order. b is read once, four neighbours at a time. For GPUs.

const GROUP = 64u;

var<workgroup> partial: array<array<vec4<f32>, GROUP>, ROWS>;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(linear_group(group, groups), ROWS, 4u);
    if !tile.inside {
        return;
    }
    var sums: array<vec4<f32>, ROWS>;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let end = tile.k_end + group.z;
    for (var k = tile.k + local * 4u; k < end; k += GROUP * 4u) {
        let b0 = load_b4(tile, tile.column, k);
        let b1 = load_b4(tile, tile.column + 1u, k);
        let b2 = load_b4(tile, tile.column + 2u, k);
        let b3 = load_b4(tile, tile.column + 3u, k);
        for (var r = 0u; r < ROWS; r++) {
            let x = load_a4(tile, tile.row + r, k);
            sums[r] += vec4(dot(x, b0), dot(x, b1), dot(x, b2), dot(x, b3));
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        partial[r][local] = sums[r];
    }
    workgroupBarrier();
    for (var half = GROUP / 2u; half > 0u; half /= 2u) {
        if local < half {
            for (var r = 0u; r < ROWS; r++) {
                partial[r][local] += partial[r][local + half];
            }
        }
        workgroupBarrier();
    }
    if local < ROWS {
        store_row(tile, tile.row + local, tile.column, partial[local][0]);
    }
}
