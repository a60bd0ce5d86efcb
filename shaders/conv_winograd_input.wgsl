// Tiles of a convolution's input in Winograd's form, B^T d B: one invocation per tile and channel.

alias Value = f32;

@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const GROUP = 64u;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups) * GROUP + local;
    if i >= params.count {
        return;
    }
    let tile = tile_at(i);
    let top = i32(tile.top) - i32(params.pad_top);
    let left = i32(tile.left) - i32(params.pad_left);

    var d: array<array<Value, SIDE>, SIDE>;
    for (var y = 0u; y < SIDE; y++) {
        // Before the picture the row or column is negative, which as an unsigned number is past its end.
        let row = u32(top + i32(y));
        for (var x = 0u; x < SIDE; x++) {
            let column = u32(left + i32(x));
            let inside = tile.inside && row < params.height && column < params.width;
            let at = select(0u, (tile.plane + row) * params.width + column, inside);
            d[y][x] = select(0.0, input[at], inside);
        }
        d[y] = forward(d[y]);
    }
    for (var x = 0u; x < SIDE; x++) {
        var line: array<Value, SIDE>;
        for (var y = 0u; y < SIDE; y++) {
            line[y] = d[y][x];
        }
        line = forward(line);
        for (var y = 0u; y < SIDE; y++) {
            output[(y * SIDE + x) * params.count + i] = line[y];
        }
    }
}
