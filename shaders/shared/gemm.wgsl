// What the matrix-product kernels share: c = activate(alpha * a b + beta * bias + residual) for each matrix of a batch.
//
// A kernel's file says how a tile is computed; this one says which tile, and where results go. Where operands come from
// are files of their own, which also declare the bindings: gemm_a.wgsl (a matrix) or gemm_images.wgsl (a
// convolution's outputs), and for b gemm_stored.wgsl (a matrix), gemm_patches.wgsl (the patches of a convolution's input)
// or gemm_taps.wgsl (those transposed).

struct Params {
    // The axes of the batch, the last changing fastest, and how many products that makes.
    batch: vec4<u32>,
    // Steps in elements along them.
    a_step: vec4<u32>,
    b_step: vec4<u32>,
    c_step: vec4<u32>,
    bias_step: vec4<u32>,
    // Where along k a product starts, by the same axes: one of them may cut k into slices.
    k_step: vec4<u32>,
    products: u32,
    // Sizes of one product: c is m x n, summed over slice of the k terms.
    m: u32,
    n: u32,
    k: u32,
    slice: u32,
    // Steps in elements between the rows of a, b and c as stored.
    a_row: u32,
    b_row: u32,
    c_row: u32,
    // Column j of this dispatch is column start + j of c. Columns come in images of c_split columns, c_image elements
    // apart.
    start: u32,
    c_split: u32,
    c_image: u32,
    // Steps in elements of the bias; 0 where it is the same along that axis.
    bias_row: u32,
    bias_column: u32,
    alpha: f32,
    beta: f32,
    // What gemm_reduce.wgsl adds up: so many slices, and the step in elements between them.
    slices: u32,
    slice_step: u32,
    // Where b is the patches of a convolution, the step in elements between its images, and its spatial axes as
    // (depth, height, width).
    image_step: u32,
    // Where the terms are output positions, the step in elements between the images of a.
    a_image: u32,
    input_size: vec4<u32>,
    output_size: vec4<u32>,
    stride: vec4<u32>,
    before: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;

// Where a tile of c is: its first row and column, and where its product's operands start.
struct Tile {
    row: u32,
    column: u32,
    a: u32,
    b: u32,
    c: u32,
    bias: u32,
    // The terms it sums.
    k: u32,
    k_end: u32,
    inside: bool,
}

fn sum(v: vec4<u32>) -> u32 {
    return v.x + v.y + v.z + v.w;
}

// The tile with this number: columns change fastest, then rows, then products.
fn tile_at(number: u32, rows: u32, columns: u32) -> Tile {
    let across = (params.n + columns - 1u) / columns;
    let down = (params.m + rows - 1u) / rows;
    let product = number / (across * down);
    let within = number % (across * down);
    let size = params.batch;
    let at = vec4(
        product / (size.w * size.z * size.y),
        product / (size.w * size.z) % size.y,
        product / size.w % size.z,
        product % size.w,
    );
    let k = sum(at * params.k_step);
    return Tile(
        within / across * rows,
        within % across * columns,
        sum(at * params.a_step),
        sum(at * params.b_step),
        sum(at * params.c_step),
        sum(at * params.bias_step),
        k,
        min(k + params.slice, params.k),
        product < params.products,
    );
}

// Finishes and stores element (row, column) of c; nothing outside.
fn store(tile: Tile, row: u32, column: u32, product: f32) {
    if row >= params.m || column >= params.n {
        return;
    }
    var value = product;
    if SCALED {
        value *= params.alpha;
    }
    let j = params.start + column;
    if HAS_BIAS {
        var term = bias[tile.bias + row * params.bias_row + j * params.bias_column];
        if SCALED {
            term *= params.beta;
        }
        value += term;
    }
    let at = tile.c + row * params.c_row + j / params.c_split * params.c_image + j % params.c_split;
    if HAS_RESIDUAL {
        value += residual[at];
    }
    c[at] = activate(value);
}

// Finishes and stores four neighbours of a row.
fn store_row(tile: Tile, row: u32, column: u32, products: vec4<f32>) {
    store(tile, row, column, products.x);
    store(tile, row, column + 1u, products.y);
    store(tile, row, column + 2u, products.z);
    store(tile, row, column + 3u, products.w);
}
