// Winograd's minimal filtering F(2, 3), along a line: Lavin & Gray, Fast Algorithms for Convolutional Neural Networks
// (2016), section 4.1.

// Value is what the kernel transforms at once: a number, or four.

const OUTPUTS = 2u;
const SIDE = 4u;

// B^T d.
fn forward(d: array<Value, SIDE>) -> array<Value, SIDE> {
    return array(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

// A^T m.
fn backward(m: array<Value, SIDE>) -> array<Value, OUTPUTS> {
    return array(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
