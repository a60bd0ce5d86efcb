// What the reductions share: where an output's elements are, and what becomes of them.
//
// A reduction that looks at the maximum first (LogSumExp) makes two passes: MAX, then LOG_SUM_EXP shifted by it.

struct Params {
    // The axes that are kept and those that are reduced, the last changing fastest, and the input's steps in elements
    // along them.
    kept: vec4<u32>,
    kept_steps: vec4<u32>,
    reduced: vec4<u32>,
    reduced_steps: vec4<u32>,
    // Outputs, and elements of each.
    count: u32,
    length: u32,
    // The result of no elements.
    empty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Value>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const SUM = 0u;
const MEAN = 1u;
const MAX = 2u;
const MIN = 3u;
const PROD = 4u;
const L1 = 5u;
const L2 = 6u;
const LOG_SUM = 7u;
const LOG_SUM_EXP = 8u;
const SUM_SQUARE = 9u;

// The offset of element i along axes of these sizes.
fn offset(i: u32, size: vec4<u32>, steps: vec4<u32>) -> u32 {
    let at = vec4(i / (size.w * size.z * size.y), i / (size.w * size.z) % size.y, i / size.w % size.z, i % size.w);
    let along = at * steps;
    return along.x + along.y + along.z + along.w;
}

// What a reduction starts from; `first` is one of the elements.
fn initial(kind: u32, first: f32) -> f32 {
    switch kind {
        case MAX, MIN: { return first; }
        case PROD: { return 1.0; }
        default: { return 0.0; }
    }
}

// What an element adds.
fn term(kind: u32, x: f32, shift: f32) -> f32 {
    switch kind {
        case L1: { return abs(x); }
        case L2, SUM_SQUARE: { return x * x; }
        case LOG_SUM_EXP: { return exp(x - shift); }
        default: { return x; }
    }
}

// Two partial results as one; NaN in either stays.
fn combine(kind: u32, a: f32, b: f32) -> f32 {
    switch kind {
        case MAX: { return select(a, b, b > a || is_nan(b)); }
        case MIN: { return select(a, b, b < a || is_nan(b)); }
        case PROD: { return a * b; }
        default: { return a + b; }
    }
}

fn finish(kind: u32, x: f32, shift: f32) -> f32 {
    switch kind {
        case MEAN: { return x / f32(params.length); }
        case L2: { return sqrt(x); }
        case LOG_SUM: { return log(x); }
        case LOG_SUM_EXP: { return shift + log(x); }
        default: { return x; }
    }
}

// An infinite maximum would make NaN of the elements that equal it.
fn shift_by(largest: f32) -> f32 {
    return select(largest, 0.0, is_infinite(largest));
}
