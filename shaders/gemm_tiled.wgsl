// Matrix product by tiles in workgroup memory: a workgroup computes TILE x TILE of c, an invocation MICRO x MICRO (4 or
// 8) of that in registers, and both operands are read once per tile and not once per element. For GPUs.

const DEPTH = 16u;
// Invocations along a side of the tile, and quadruples of its rows or columns.
const SIDE = TILE / MICRO;
const QUADS = TILE / 4u;
const WIDE = MICRO == 8u;

// Quadruples of neighbouring rows of a and columns of b, k-major: the inner loop reads neighbours.
var<workgroup> a_tile: array<vec4<f32>, DEPTH * QUADS>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * QUADS>;

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
    // The columns of b that this invocation fetches, where neighbours fetch neighbouring columns.
    let quad = local % QUADS;
    let fetched = tile.column + quad * 4u;
    let column0 = column_at(tile, fetched);
    let column1 = column_at(tile, fetched + 1u);
    let column2 = column_at(tile, fetched + 2u);
    let column3 = column_at(tile, fetched + 3u);

    // The sums of row R in sumR, and where there are eight columns of its second four in moreR.
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    var sum4 = vec4<f32>();
    var sum5 = vec4<f32>();
    var sum6 = vec4<f32>();
    var sum7 = vec4<f32>();
    var more0 = vec4<f32>();
    var more1 = vec4<f32>();
    var more2 = vec4<f32>();
    var more3 = vec4<f32>();
    var more4 = vec4<f32>();
    var more5 = vec4<f32>();
    var more6 = vec4<f32>();
    var more7 = vec4<f32>();
    let x = local % SIDE;
    let y = local / SIDE;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let end = tile.k_end + group.z;
    for (var k0 = tile.k; k0 < end; k0 += DEPTH) {
        for (var i = local; i < DEPTH * QUADS; i += SIDE * SIDE) {
            // Neighbouring invocations read neighbouring addresses, however the operand is stored.
            let at = select(vec2(i / DEPTH, i % DEPTH), vec2(i % QUADS, i / QUADS), TRANS_A);
            a_tile[at.y * QUADS + at.x] = load_quad_a(tile, tile.row + at.x * 4u, k0 + at.y);
        }
        if TRANS_B {
            for (var i = local; i < DEPTH * QUADS; i += SIDE * SIDE) {
                let k = k0 + i % DEPTH;
                let column = tile.column + i / DEPTH * 4u;
                b_tile[i % DEPTH * QUADS + i / DEPTH] = vec4(
                    load_b(column_at(tile, column), k),
                    load_b(column_at(tile, column + 1u), k),
                    load_b(column_at(tile, column + 2u), k),
                    load_b(column_at(tile, column + 3u), k),
                );
            }
        } else {
            for (var k = local / QUADS; k < DEPTH; k += SIDE * SIDE / QUADS) {
                b_tile[k * QUADS + quad] = load_quad_b(column0, column1, column2, column3, k0 + k);
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let at_a = k * QUADS + y * (MICRO / 4u);
            let at_b = k * QUADS + x * (MICRO / 4u);
            let a0 = a_tile[at_a];
            let b0 = b_tile[at_b];
            sum0 += a0.x * b0;
            sum1 += a0.y * b0;
            sum2 += a0.z * b0;
            sum3 += a0.w * b0;
            if WIDE {
                let a1 = a_tile[at_a + 1u];
                let b1 = b_tile[at_b + 1u];
                more0 += a0.x * b1;
                more1 += a0.y * b1;
                more2 += a0.z * b1;
                more3 += a0.w * b1;
                sum4 += a1.x * b0;
                sum5 += a1.y * b0;
                sum6 += a1.z * b0;
                sum7 += a1.w * b0;
                more4 += a1.x * b1;
                more5 += a1.y * b1;
                more6 += a1.z * b1;
                more7 += a1.w * b1;
            }
        }
        workgroupBarrier();
    }

    let row = tile.row + y * MICRO;
    let column = tile.column + x * MICRO;
    store_row(tile, row, column, sum0);
    store_row(tile, row + 1u, column, sum1);
    store_row(tile, row + 2u, column, sum2);
    store_row(tile, row + 3u, column, sum3);
    if WIDE {
        store_row(tile, row + 4u, column, sum4);
        store_row(tile, row + 5u, column, sum5);
        store_row(tile, row + 6u, column, sum6);
        store_row(tile, row + 7u, column, sum7);
        store_row(tile, row, column + 4u, more0);
        store_row(tile, row + 1u, column + 4u, more1);
        store_row(tile, row + 2u, column + 4u, more2);
        store_row(tile, row + 3u, column + 4u, more3);
        store_row(tile, row + 4u, column + 4u, more4);
        store_row(tile, row + 5u, column + 4u, more5);
        store_row(tile, row + 6u, column + 4u, more6);
        store_row(tile, row + 7u, column + 4u, more7);
    }
}
