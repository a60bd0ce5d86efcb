// Convolution of few channels, as pictures have them: a workgroup computes a tile of the output for sixteen filters, with
// these and what they see of the input in workgroup memory; an invocation four neighbours of a row for four filters, in
// registers.

struct Params {
    // Tiles in a row, in a column, and of each the workgroups: one for each sixteen filters.
    across: u32,
    down: u32,
    blocks: u32,
    images: u32,
    filters: u32,
    // Fours of filters in `weight`.
    fours: u32,
    input_height: u32,
    input_width: u32,
    output_height: u32,
    output_width: u32,
    pad_top: u32,
    pad_left: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
// For each four filters their weights at each term together, as gemm_a_packed.wgsl reads them.
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<Stored>;
@group(0) @binding(5) var<storage, read_write> output: array<Stored>;

const GROUP = 64u;
const TILE_HEIGHT = 4u;
const TILE_WIDTH = 16u;
const FOURS = 4u;

const TERMS = CHANNELS * KERNEL_HEIGHT * KERNEL_WIDTH;
// What a tile sees of a channel.
const SEEN_HEIGHT = (TILE_HEIGHT - 1u) * STRIDE_Y + (KERNEL_HEIGHT - 1u) * DILATION_Y + 1u;
const SEEN_WIDTH = (TILE_WIDTH - 1u) * STRIDE_X + (KERNEL_WIDTH - 1u) * DILATION_X + 1u;
const SEEN = CHANNELS * SEEN_HEIGHT * SEEN_WIDTH;

var<workgroup> seen: array<f32, SEEN>;
var<workgroup> filters: array<vec4<f32>, FOURS * TERMS>;

// A row of what the tile sees.
struct Row {
    start: u32,
    left: i32,
}

fn element(row: Row, column: u32) -> f32 {
    return seen[row.start + column];
}

@compute @workgroup_size(GROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_group(group, groups);
    let block = i % params.blocks;
    let tile = i / params.blocks;
    let image = tile / (params.across * params.down);
    if image >= params.images {
        return;
    }
    let y0 = tile / params.across % params.down * TILE_HEIGHT;
    let x0 = tile % params.across * TILE_WIDTH;

    let first = block * FOURS * TERMS;
    for (var at = local; at < FOURS * TERMS; at += GROUP) {
        if first + at < params.fours * TERMS {
            filters[at] = weight[first + at];
        }
    }
    for (var at = local; at < SEEN; at += GROUP) {
        let channel = at / (SEEN_HEIGHT * SEEN_WIDTH);
        // Before the picture these are negative, which as unsigned numbers are past its end.
        let row = y0 * STRIDE_Y + at / SEEN_WIDTH % SEEN_HEIGHT - params.pad_top;
        let column = x0 * STRIDE_X + at % SEEN_WIDTH - params.pad_left;
        let inside = row < params.input_height && column < params.input_width;
        let source = ((image * CHANNELS + channel) * params.input_height + row) * params.input_width + column;
        seen[at] = select(0.0, input[select(0u, source, inside)], inside);
    }
    workgroupBarrier();

    let x = local % (TILE_WIDTH / 4u) * 4u;
    let y = local / (TILE_WIDTH / 4u) % TILE_HEIGHT;
    let four = local / (TILE_WIDTH / 4u * TILE_HEIGHT);
    // The sums of four filters for each of the neighbours.
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    var term = four * TERMS;
    for (var channel = 0u; channel < CHANNELS; channel++) {
        for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
            let line = channel * SEEN_HEIGHT + y * STRIDE_Y + ky * DILATION_Y;
            let row = Row(line * SEEN_WIDTH, i32(x * STRIDE_X));
            var window = Window();
            for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
                window = slide(window, row, kx);
                let weights = filters[term];
                sum0 += window.last.x * weights;
                sum1 += window.last.y * weights;
                sum2 += window.last.z * weights;
                sum3 += window.last.w * weights;
                term++;
            }
        }
    }

    let to = vec2(x0 + x, y0 + y);
    if to.x >= params.output_width || to.y >= params.output_height {
        return;
    }
    for (var f = 0u; f < 4u; f++) {
        let filter_ = (block * FOURS + four) * 4u + f;
        if filter_ < params.filters {
            let line = (image * params.filters + filter_) * params.output_height + to.y;
            let sums = vec4(sum0[f], sum1[f], sum2[f], sum3[f]);
            finish4(filter_, line * params.output_width + to.x, params.output_width - to.x, sums);
        }
    }
}
