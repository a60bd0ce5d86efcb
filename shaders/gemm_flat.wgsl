// Matrix product without workgroup memory or barriers: an invocation computes ROWS x 4 of c straight from storage. For
// few rows, where a tile would be mostly empty, and for adapters that compute on CPU cores, where workgroup memory is
// no faster than storage and a barrier costs a context switch.

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(linear_group(group, groups) * GROUP + local, ROWS, 4u);
    if !tile.inside {
        return;
    }
    var sums: array<vec4<f32>, ROWS>;
    for (var k = 0u; k < params.k; k++) {
        let bs = vec4(
            load_b(tile, k, tile.column),
            load_b(tile, k, tile.column + 1u),
            load_b(tile, k, tile.column + 2u),
            load_b(tile, k, tile.column + 3u),
        );
        for (var i = 0u; i < ROWS; i++) {
            sums[i] += load_a(tile, tile.row + i, k) * bs;
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        for (var j = 0u; j < 4u; j++) {
            store(tile, tile.row + i, tile.column + j, sums[i][j]);
        }
    }
}
