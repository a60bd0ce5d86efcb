// Matrix product without workgroup memory or barriers: an invocation computes ROWS (1 or 4) x 4 of c straight from
// storage. For few rows, where a tile would be mostly empty, and for adapters that compute on CPU cores, where workgroup
// memory is no faster than storage and a barrier costs a context switch.

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
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let end = tile.k_end + group.z;
    let column0 = column_at(tile, tile.column);
    let column1 = column_at(tile, tile.column + 1u);
    let column2 = column_at(tile, tile.column + 2u);
    let column3 = column_at(tile, tile.column + 3u);
    // Variables of their own rather than an array, which drivers may keep in memory instead of registers.
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var k = tile.k; k < end; k++) {
        let bs = load_quad_b(column0, column1, column2, column3, k);
        if ROWS == 1u {
            sum0 += load_a(tile, tile.row, k) * bs;
        } else {
            let rows = load_quad_a(tile, tile.row, k);
            sum0 += rows.x * bs;
            sum1 += rows.y * bs;
            sum2 += rows.z * bs;
            sum3 += rows.w * bs;
        }
    }
    store_row(tile, tile.row, tile.column, sum0);
    if ROWS > 1u {
        store_row(tile, tile.row + 1u, tile.column, sum1);
        store_row(tile, tile.row + 2u, tile.column, sum2);
        store_row(tile, tile.row + 3u, tile.column, sum3);
    }
}
