// What the matrix-product kernels share: c = activate(alpha * a b + beta * bias + residual) for each matrix of a batch.
//
// A kernel's file says how a tile is computed; this one says where elements come from and where results go, so that
// another source of a or b replaces one function.

struct Params {
    // The axes of the batch, the last changing fastest, and how many products that makes.
    batch: vec4<u32>,
    // Steps in elements along them.
    a_step: vec4<u32>,
    b_step: vec4<u32>,
    c_step: vec4<u32>,
    bias_step: vec4<u32>,
    products: u32,
    // Sizes of one product: c is m x n, summed over k.
    m: u32,
    n: u32,
    k: u32,
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
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

// Where a tile of c is: its first row and column, and where its product's operands start.
struct Tile {
    row: u32,
    column: u32,
    a: u32,
    b: u32,
    c: u32,
    bias: u32,
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
    return Tile(
        within / across * rows,
        within % across * columns,
        sum(at * params.a_step),
        sum(at * params.b_step),
        sum(at * params.c_step),
        sum(at * params.bias_step),
        product < params.products,
    );
}

// Element (row, k) of a; 0 outside, so that edge tiles need no case of their own.
fn load_a(tile: Tile, row: u32, k: u32) -> f32 {
    if row >= params.m || k >= params.k {
        return 0.0;
    }
    return a[tile.a + select(row * params.a_row + k, k * params.a_row + row, TRANS_A)];
}

// Element (k, column) of b; 0 outside.
fn load_b(tile: Tile, k: u32, column: u32) -> f32 {
    if column >= params.n || k >= params.k {
        return 0.0;
    }
    return b[tile.b + select(k * params.b_row + column, column * params.b_row + k, TRANS_B)];
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
