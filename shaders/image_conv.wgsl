// Convolution over images, for adapters that compute on CPU cores: an invocation computes PIXELS neighbours of a row by
// 4 FILTERS channels and holds their sums in registers. No workgroup memory, no barriers.
//
// What is stored is the outputs themselves (shared/image_each.wgsl) or what a pool makes of them (shared/image_window.wgsl):
// WINDOWS windows side by side, of WINDOW_Y rows that are computed one after another. Outputs are windows of one pixel.
//
// Where taps find few of the pixels of those before them in registers, for strides and dilations, the taps of a row are ROLLED
// into the loop over channels and rows, of which each round then is one tap (KERNEL_WIDTH is 1): less code, and the same for
// all widths, strides and dilations.
//
// Mesa unrolls a loop, and keeps an array in registers, where the array has as many elements as the loop has rounds and
// the loop's variable is its index. Each loop of constant bounds here has such an array.

struct Params {
    // Pieces of rows of windows that meet the same weights, of `images` images, and invocations for them.
    count: u32,
    lanes: u32,
    // Those side by side in a row.
    across: u32,
    images: u32,
    // Invocations altogether: `lanes` for each block of filters, for each set of weights.
    total: u32,
    // Texels in depth of input and output.
    depth: u32,
    filters: u32,
    // Channels in the last texel of the output; the others are kept at 0.
    last_lanes: u32,
    // The output may be channels among others: texels before its first image, and between its images.
    start: u32,
    gap: u32,
    // The bounds of shared/image_clamp.wgsl.
    low: f32,
    high: f32,
    input_height: u32,
    input_width: u32,
    // In windows.
    output_height: u32,
    output_width: u32,
    kernel_height: u32,
    stride_y: u32,
    dilation_y: u32,
    pad_top: u32,
    pad_left: u32,
    // Where ROLLED.
    kernel_width: u32,
    stride_x: u32,
    dilation_x: u32,
    // Where HAS_RESIDUAL says that there may be one.
    has_residual: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Binding 1 is the input (shared/image_input.wgsl or image_plane.wgsl).
// For each set of weights, block of FILTERS texels of filters, c4, ky, kx and texel of filters: four texels, each with the
// four filters' weights of channel 4 c4 + i.
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
// What is added (shared/image_residual.wgsl or image_no_residual.wgsl).
const RESIDUAL = 4;
// The output (shared/image_output.wgsl).
const OUTPUT = 5;

const GROUP = 8u;
const WINDOWS = PIXELS / WINDOW_X;

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = min(linear_group(group, groups) * GROUP + local, params.total - 1u);
    // Invocations past the last piece compute it too, because their neighbours may need the weights that they fetch.
    let piece = min(i % params.lanes, params.count - 1u);
    let x = piece % params.across * WINDOWS;
    let y = piece / params.across % params.output_height;
    let blocks = (params.filters + FILTERS - 1u) / FILTERS;
    let block = i / params.lanes;
    let filter_ = block % blocks * FILTERS;
    let image = block / blocks * params.images + piece / (params.across * params.output_height);

    let stride = select(STRIDE_X, params.stride_x, ROLLED);
    let kernel_width = select(1u, params.kernel_width, ROLLED);
    var columns: array<i32, KERNEL_WIDTH>;
    let left = i32(x * WINDOW_X * stride) - i32(params.pad_left);
    for (var n = 0u; n < KERNEL_WIDTH; n++) {
        columns[n] = left + i32(tap(n) * DILATION_X);
    }
    let plane = params.input_height * params.input_width;
    let moved = params.start + image * params.gap;
    var held: array<array<vec4<f32>, WINDOWS>, FILTERS>;
    // Mesa's llvmpipe compiles a kernel anew, for each dispatch, where a uniform alone bounds a loop. group.z is 0.
    let rounds = params.depth * params.kernel_height * kernel_width + group.z;
    // What is no piece of its own has nothing to store.
    let windows = select(0u, min(WINDOWS, params.output_width - x), i % params.lanes < params.count) + group.z;
    let lines = lines_of_window(group.z);
    for (var wy = 0u; wy < lines; wy++) {
        var sums = array<array<vec4<f32>, PIXELS>, FILTERS>();
        var line: array<vec4<f32>, PIXELS>;
        let top = i32((y * WINDOW_Y + wy) * params.stride_y) - i32(params.pad_top);
        var start = i32(image * params.depth * plane);
        var ky = 0u;
        var kx = 0u;
        // Channels and rows of the kernel in one loop: llvmpipe copies all sums once per round of each loop around them.
        var first = block * rounds * KERNEL_WIDTH * 4u * FILTERS;
        for (var round = 0u; round < rounds; round++) {
            let row = top + i32(ky * params.dilation_y);
            let at = start + row * i32(params.input_width);
            let by = select(0, i32(kx * params.dilation_x), ROLLED);
            let width = select(0u, params.input_width, row >= 0 && row < i32(params.input_height));
            for (var n = 0u; n < KERNEL_WIDTH; n++) {
                if slides(n) {
                    for (var p = 0u; p < PIXELS; p++) {
                        if p + 1u < PIXELS {
                            line[p] = line[p + 1u];
                        } else {
                            line[p] = load(at, columns[n] + by + i32(p * stride), width);
                        }
                    }
                } else {
                    for (var p = 0u; p < PIXELS; p++) {
                        line[p] = load(at, columns[n] + by + i32(p * stride), width);
                    }
                }
                let w = first + tap(n) * 4u * FILTERS;
                fetch(w, local);
                for (var f = 0u; f < FILTERS; f++) {
                    let weights = weights_of(w, f);
                    for (var p = 0u; p < PIXELS; p++) {
                        sums[f][p] += products(weights, line[p]);
                    }
                }
            }
            first += KERNEL_WIDTH * 4u * FILTERS;
            kx += 1u;
            if !ROLLED || kx == kernel_width {
                kx = 0u;
                ky += 1u;
                if ky == params.kernel_height {
                    ky = 0u;
                    start += i32(plane);
                }
            }
        }

        var shifts: array<vec4<f32>, FILTERS>;
        if HAS_BIAS {
            for (var f = 0u; f < FILTERS; f++) {
                shifts[f] = bias[min(filter_ + f, params.filters - 1u)];
            }
        }
        // A loop that stays one, and selects its sums: code takes long to compile for each store in it.
        for (var window = 0u; window < windows; window++) {
            for (var f = 0u; f < FILTERS; f++) {
                var value = held[f][0];
                var members: array<vec4<f32>, WINDOW_X>;
                for (var p = 0u; p < WINDOWS; p++) {
                    value = select(value, held[f][p], p == window);
                    for (var wx = 0u; wx < WINDOW_X; wx++) {
                        members[wx] = select(members[wx], sums[f][p * WINDOW_X + wx], p == window);
                    }
                }
                if filter_ + f < params.filters {
                    let row = (image * params.filters + filter_ + f) * params.output_height + y;
                    let to = row * params.output_width + x + window;
                    for (var wx = 0u; wx < WINDOW_X; wx++) {
                        var output_ = members[wx] + shifts[f];
                        if HAS_RESIDUAL && params.has_residual != 0u {
                            output_ += load_residual(to);
                        }
                        value = pool(value, activate4(output_), wy + wx == 0u);
                    }
                    for (var p = 0u; p < WINDOWS; p++) {
                        held[f][p] = select(held[f][p], value, p == window);
                    }
                    if wy + 1u == WINDOW_Y {
                        let last = filter_ + f + 1u == params.filters;
                        store_output(to + moved, mask(pooled(value), last, params.last_lanes));
                    }
                }
            }
        }
    }
}

// Of a texel's channels, of which the input has LANES, with four filters' weights.
fn products(weights: mat4x4<f32>, texel: vec4<f32>) -> vec4<f32> {
    if LANES == 4u {
        return weights * texel;
    }
    var sum = weights[0] * texel.x;
    if LANES > 1u {
        sum += weights[1] * texel.y;
    }
    if LANES > 2u {
        sum += weights[2] * texel.z;
    }
    return sum;
}
