// Tiles of a convolution's input in Winograd's form: one invocation per tile and texel in depth.

alias Value = vec4<f32>;

struct Params {
    count: u32,
    // Tiles of an image, in a row of it, and of all images.
    tiles: u32,
    across: u32,
    all_tiles: u32,
    depth: u32,
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input_called.wgsl).
// Texel ((row * SIDE + column) * depth + c4) * all_tiles + tile.
// The output (shared/image_output.wgsl).
const OUTPUT = 2;

const GROUP = 16u;

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
    let tile = i % params.all_tiles;
    let c = i / params.all_tiles;
    let image = tile / params.tiles;
    let within = tile % params.tiles;
    let top = i32(within / params.across * OUTPUTS) - i32(params.pad_top);
    let left = i32(within % params.across * OUTPUTS) - i32(params.pad_left);
    let plane = i32((image * params.depth + c) * params.height * params.width);

    var d: array<array<Value, SIDE>, SIDE>;
    for (var y = 0u; y < SIDE; y++) {
        let row = top + i32(y);
        let start = plane + row * i32(params.width);
        for (var x = 0u; x < SIDE; x++) {
            let column = left + i32(x);
            let inside = u32(row) < params.height && u32(column) < params.width;
            let texel = load_input(u32(max(start + column, 0)));
            d[y][x] = select(vec4<f32>(), texel, inside);
        }
        d[y] = forward(d[y]);
    }
    let step = params.depth * params.all_tiles;
    // A loop that stays one, and selects its column: code takes long to compile for each store in it.
    let rounds = SIDE + group.z;
    for (var x = 0u; x < rounds; x++) {
        var line: array<Value, SIDE>;
        for (var y = 0u; y < SIDE; y++) {
            line[y] = d[y][0];
            for (var n = 0u; n < SIDE; n++) {
                line[y] = select(line[y], d[y][n], n == x);
            }
        }
        line = forward(line);
        for (var y = 0u; y < SIDE; y++) {
            store_output((y * SIDE + x) * step + i, line[y]);
        }
    }
}
