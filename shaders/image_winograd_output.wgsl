// From Winograd's form to a convolution's output, and what follows the sums: one invocation per tile and texel of filters.

alias Value = vec4<f32>;

struct Params {
    count: u32,
    // Tiles of an image, in a row of it, and of all images.
    tiles: u32,
    across: u32,
    all_tiles: u32,
    // Texels in depth of the output.
    filters: u32,
    // Channels in the last of them; the others are kept at 0.
    last_lanes: u32,
    // The output may be channels among others: texels before its first image, and between its images.
    start: u32,
    gap: u32,
    // The bounds of shared/image_clamp.wgsl.
    low: f32,
    high: f32,
    height: u32,
    width: u32,
    // 1 where a residual is added, else 0: a parameter, so that one kernel serves both.
    has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Texel ((row * SIDE + column) * filters + f4) * all_tiles + tile.
// Binding 1 is the input (shared/image_input_called.wgsl).
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
// What is added (shared/image_residual.wgsl).
const RESIDUAL = 3;
// The output (shared/image_output.wgsl).
const OUTPUT = 4;

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
    let filter_ = i / params.all_tiles;
    let image = tile / params.tiles;
    let within = tile % params.tiles;
    let top = within / params.across * OUTPUTS;
    let left = within % params.across * OUTPUTS;

    let step = params.filters * params.all_tiles;
    var m: array<array<Value, OUTPUTS>, SIDE>;
    for (var y = 0u; y < SIDE; y++) {
        var line: array<Value, SIDE>;
        for (var x = 0u; x < SIDE; x++) {
            line[x] = load_input((y * SIDE + x) * step + i);
        }
        m[y] = backward(line);
    }
    var shift = vec4<f32>();
    if HAS_BIAS {
        shift = bias[filter_];
    }
    let last = filter_ + 1u == params.filters;
    let moved = params.start + image * params.gap;
    let plane = (image * params.filters + filter_) * params.height;
    // A loop that stays one, and selects its column: code takes long to compile for each store in it.
    let columns = min(OUTPUTS, params.width - left) + group.z;
    for (var x = 0u; x < columns; x++) {
        var line: array<Value, SIDE>;
        for (var y = 0u; y < SIDE; y++) {
            line[y] = m[y][0];
            for (var n = 0u; n < OUTPUTS; n++) {
                line[y] = select(line[y], m[y][n], n == x);
            }
        }
        var sums = backward(line);
        for (var y = 0u; y < OUTPUTS; y++) {
            if top + y < params.height {
                let to = (plane + top + y) * params.width + left + x;
                var value = sums[y] + shift;
                if params.has_residual != 0u {
                    value += load_residual(to);
                }
                let texel = mask(activate4(value), last, params.last_lanes);
                store_output(to + moved, texel);
            }
        }
    }
}
