// Winograd's minimal filtering F(4, 3), along a line: Lavin & Gray, Fast Algorithms for Convolutional Neural Networks
// (2016), section 4.2.

// Value is what the kernel transforms at once: a number, or four.

const OUTPUTS = 4u;
const SIDE = 6u;

// B^T d.
fn forward(d: array<Value, SIDE>) -> array<Value, SIDE> {
    let even = d[4] - 4.0 * d[2];
    let odd = d[3] - 4.0 * d[1];
    let outer = d[4] - d[2];
    let inner = 2.0 * (d[3] - d[1]);
    return array(
        4.0 * d[0] - 5.0 * d[2] + d[4],
        even + odd,
        even - odd,
        outer + inner,
        outer - inner,
        4.0 * d[1] - 5.0 * d[3] + d[5],
    );
}

// A^T m.
fn backward(m: array<Value, SIDE>) -> array<Value, OUTPUTS> {
    let near = m[1] + m[2];
    let far = m[3] + m[4];
    let near_difference = m[1] - m[2];
    let far_difference = m[3] - m[4];
    return array(
        m[0] + near + far,
        near_difference + 2.0 * far_difference,
        near + 4.0 * far,
        near_difference + 8.0 * far_difference + m[5],
    );
}
