// output[i] = f(a, b) of the elements that broadcast to i: one element, or four neighbours, along which an operand runs in step
// (A_LANES or B_LANES is 4) or stands still.

struct Params {
    // The output's axes, at most eight, and the steps in elements along them; 0 where an operand is repeated.
    sizes: array<vec4<u32>, 2>,
    a_steps: array<vec4<u32>, 2>,
    b_steps: array<vec4<u32>, 2>,
    axes: u32,
    // Of elements, or of fours.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<A>;
@group(0) @binding(2) var<storage, read> b: array<B>;
@group(0) @binding(3) var<storage, read_write> output: array<Value>;

const GROUP = 64u;

const ADD = 0u;
const SUB = 1u;
const MUL = 2u;
const DIV = 3u;
const POW = 4u;
const MIN = 5u;
const MAX = 6u;
const PRELU = 7u;

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
    let first = i * VALUE_LANES;
    // FLAT: one axis is left, along which an operand runs in step or stands still.
    var at = vec2(first * params.a_steps[0].x, first * params.b_steps[0].x);
    if !FLAT {
        at = vec2(0u);
        var rest = first;
        for (var k = params.axes; k > 0u; k -= 1u) {
            let axis = k - 1u;
            let size = params.sizes[axis / 4u][axis % 4u];
            let steps = vec2(params.a_steps[axis / 4u][axis % 4u], params.b_steps[axis / 4u][axis % 4u]);
            at += rest % size * steps;
            rest /= size;
        }
    }
    output[i] = zip(Value(a[at.x / A_LANES]), Value(b[at.y / B_LANES]));
}

fn apply(x: f32, y: f32) -> f32 {
    switch FUNCTION {
        case ADD: { return x + y; }
        case SUB: { return x - y; }
        case MUL: { return x * y; }
        case DIV: { return x / y; }
        case POW: { return power(x, y); }
        case MIN: { return select(y, x, x < y || is_nan(x)); }
        case MAX: { return select(y, x, x > y || is_nan(x)); }
        default: { return select(x, x * y, x < 0.0); }
    }
}

// x to the power of y, with the special cases of C's pow (ISO C, F.10.4.4); WGSL's is undefined for negative x.
fn power(x: f32, y: f32) -> f32 {
    let whole = floor(y) == y;
    if whole && abs(y) <= 16.0 {
        return small_power(x, y);
    }
    let m = abs(x);
    if x == 1.0 || (m == 1.0 && is_infinite(y)) {
        return 1.0;
    }
    if is_nan(x) || is_nan(y) {
        return x + y;
    }
    if x < 0.0 && !whole && !is_infinite(x) {
        // Not a number, made of x because WGSL has no constant for it.
        return bitcast<f32>(bitcast<u32>(x) | 0x7fc00000u);
    }
    var size = exp2(y * log2(m));
    if m == 1.0 {
        size = 1.0;
    } else if m == 0.0 {
        size = select(1.0 / m, 0.0, y > 0.0);
    }
    let odd = whole && floor(0.5 * y) * 2.0 != y;
    let negative = (bitcast<u32>(x) >> 31u) != 0u;
    return select(size, -size, odd && negative);
}

// x to the power of an integer, by squaring.
fn small_power(x: f32, y: f32) -> f32 {
    var n = u32(abs(y));
    var square = x;
    var result = 1.0;
    while n > 0u {
        if (n & 1u) != 0u {
            result *= square;
        }
        square *= square;
        n >>= 1u;
    }
    return select(result, 1.0 / result, y < 0.0);
}
