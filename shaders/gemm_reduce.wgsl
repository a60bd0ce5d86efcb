// Adds up the slices of a matrix product that was cut along k, in their order, and finishes each element: one invocation
// per element of c.

// The slices, each a whole product.
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_at(linear_group(group, groups) * GROUP + local, 1u, 1u);
    if !tile.inside {
        return;
    }
    let at = tile.b + tile.row * params.n + tile.column;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let slices = params.slices + group.z;
    var sum = partial[at];
    for (var slice = 1u; slice < slices; slice++) {
        sum += partial[at + slice * params.slice_step];
    }
    store(tile, tile.row, tile.column, sum);
}
