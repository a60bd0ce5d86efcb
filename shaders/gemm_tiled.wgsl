// Matrix product by tiles in workgroup memory: a workgroup computes TILE x TILE of c, an invocation 4 x 4 of that, and
// both operands are read once per tile and not once per element. For GPUs.

const DEPTH = 16u;
const SIDE = TILE / 4u;

// Stored k-major: the inner loop reads neighbours.
var<workgroup> a_tile: array<f32, DEPTH * TILE>;
var<workgroup> b_tile: array<f32, DEPTH * TILE>;

@compute @workgroup_size(SIDE * SIDE)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(linear_group(group, groups), TILE, TILE);
    if !tile.inside {
        return;
    }
    let x = local % SIDE;
    let y = local / SIDE;
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let depth = params.k + group.z;
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var i = local; i < DEPTH * TILE; i += SIDE * SIDE) {
            // Neighbouring invocations read neighbouring addresses of either operand, however it is stored.
            let a_at = select(vec2(i / DEPTH, i % DEPTH), vec2(i % TILE, i / TILE), TRANS_A);
            a_tile[a_at.y * TILE + a_at.x] = load_a(tile, tile.row + a_at.x, k0 + a_at.y);
            let b_at = select(vec2(i % TILE, i / TILE), vec2(i / DEPTH, i % DEPTH), TRANS_B);
            b_tile[b_at.y * TILE + b_at.x] = load_b(tile, k0 + b_at.y, tile.column + b_at.x);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at_a = k * TILE + y * 4u;
            let at_b = k * TILE + x * 4u;
            let bs = vec4(b_tile[at_b], b_tile[at_b + 1u], b_tile[at_b + 2u], b_tile[at_b + 3u]);
            sum0 += a_tile[at_a] * bs;
            sum1 += a_tile[at_a + 1u] * bs;
            sum2 += a_tile[at_a + 2u] * bs;
            sum3 += a_tile[at_a + 3u] * bs;
        }
        workgroupBarrier();
    }
    let row = tile.row + y * 4u;
    let column = tile.column + x * 4u;
    store_row(tile, row, column, sum0);
    store_row(tile, row + 1u, column, sum1);
    store_row(tile, row + 2u, column, sum2);
    store_row(tile, row + 3u, column, sum3);
}
