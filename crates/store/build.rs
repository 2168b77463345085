//! Embeds a migration again when one is added, which the compiler does not notice

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
