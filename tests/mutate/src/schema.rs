//! Owns how a file looks that has all of its mutants in it, each behind a switch.
//!
//! Only insertions, and operators replaced: nothing is written twice, so that mutants nest. What does not compile that
//! way is found by the compiler and left out (`crate::compile`).

use std::collections::BTreeSet;

use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Failure;
use crate::compile::Wrong;
use crate::list::{Lines, Mutant};

/// A file with switches.
#[derive(Debug, Default)]
pub struct Schema {
    /// The source.
    pub text: String,
    /// What of it belongs to which mutants; later ones are smaller or elsewhere.
    pub parts: Vec<Part>,
}

/// Bytes of a schema.
#[derive(Debug, Clone)]
pub struct Part {
    /// The first.
    pub start: usize,
    /// The one after the last.
    pub end: usize,
    /// The mutants to leave out if these bytes do not compile.
    pub ids: Vec<usize>,
}

/// The place of an expression, and of what is in it.
struct Node {
    place: (usize, usize),
    /// In front of it, inside of it at these bytes, behind it.
    before: Vec<Piece>,
    inside: Option<((usize, usize), Vec<Piece>)>,
    after: Vec<Piece>,
    ids: Vec<usize>,
}

/// Text, and the mutants that it is for: all of its node's where none is named.
struct Piece(String, Option<usize>);

fn text(text: impl Into<String>) -> Piece {
    Piece(text.into(), None)
}

fn on(id: usize) -> String {
    format!("crate::mutant::on({id})")
}

/// `source` with the mutants that are not in `without`; functions are no longer `const` if they have some, but for those
/// named in `constant`.
pub fn schema(
    source: &str,
    mutants: &[Mutant],
    (without, constant): (&Wrong, &BTreeSet<String>),
) -> Result<(Schema, Vec<usize>), Failure> {
    let file = syn::parse_file(source)?;
    let mutants: Vec<&Mutant> =
        mutants.iter().filter(|mutant| !without.contains_key(&mutant.id)).collect();
    let lines = Lines::of(source);
    let mut finder = Finder { source, constant, lines, mutants, nodes: Vec::new() };
    for mutant in finder.mutants.clone() {
        if mutant.genre == "FnValue" {
            let early = format!("if {} {{ return {}; }} ", on(mutant.id), mutant.replacement);
            let node = Node {
                place: mutant.place,
                before: vec![text(early)],
                inside: None,
                after: Vec::new(),
                ids: vec![mutant.id],
            };
            finder.nodes.push(node);
        }
    }
    finder.visit_file(&file);
    let known: BTreeSet<usize> = finder.nodes.iter().flat_map(|node| node.ids.clone()).collect();
    let lost = finder.mutants.iter().map(|mutant| mutant.id).filter(|id| !known.contains(id));
    let lost = lost.collect();
    Ok((write(source, &finder.nodes), lost))
}

/// What is written at one byte: what ends there first, then what begins, the outer one first.
fn write(source: &str, nodes: &[Node]) -> Schema {
    // Place; end, beginning or operator; the order at one place; the node. Of two with one place the second is inside.
    let mut edits: Vec<(usize, u8, (usize, usize), usize)> = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let length = node.place.1 - node.place.0;
        edits.push((node.place.0, 1, (usize::MAX - length, number), number));
        edits.push((node.place.1, 0, (length, usize::MAX - number), number));
        if let Some((operator, _)) = &node.inside {
            edits.push((operator.0, 2, (0, 0), number));
        }
    }
    edits.sort_unstable();
    let mut schema = Schema::default();
    let mut starts = vec![0; nodes.len()];
    let mut from = 0;
    for (at, kind, _, number) in edits {
        let node = &nodes[number];
        schema.text.push_str(&source[from..at]);
        from = at;
        if kind == 1 {
            starts[number] = schema.text.len();
        }
        let pieces = match kind {
            0 => &node.after,
            1 => &node.before,
            _ => {
                let Some((operator, pieces)) = &node.inside else { continue };
                from = operator.1;
                pieces
            }
        };
        for Piece(piece, id) in pieces {
            let start = schema.text.len();
            schema.text.push_str(piece);
            let ids = id.map_or_else(|| node.ids.clone(), |id| vec![id]);
            schema.parts.push(Part { start, end: schema.text.len(), ids });
        }
        if kind == 0 {
            let (start, end) = (starts[number], schema.text.len());
            schema.parts.push(Part { start, end, ids: node.ids.clone() });
        }
    }
    schema.text.push_str(&source[from..]);
    schema
}

struct Finder<'a> {
    source: &'a str,
    /// Functions that stay `const`, as constants call them.
    constant: &'a BTreeSet<String>,
    lines: Lines,
    mutants: Vec<&'a Mutant>,
    nodes: Vec<Node>,
}

impl Finder<'_> {
    fn place(&self, spanned: &impl Spanned) -> (usize, usize) {
        let byte = |at: LineColumn| self.lines.byte(at.line, at.column);
        let span = spanned.span();
        (byte(span.start()), byte(span.end()))
    }

    /// The mutants at exactly this place.
    fn at(&self, genre: &str, place: (usize, usize)) -> Vec<(usize, String)> {
        let here = |mutant: &&&Mutant| mutant.genre == genre && mutant.place == place;
        let found = self.mutants.iter().filter(here);
        found.map(|mutant| (mutant.id, mutant.replacement.clone())).collect()
    }

    fn arms(
        &self,
        mutants: &[(usize, String)],
        left: &str,
        right: &str,
        plain: &str,
    ) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (id, operator) in mutants {
            let branch = format!("if {} {{ {left} {operator} {right} }} else ", on(*id));
            pieces.push(Piece(branch, Some(*id)));
        }
        pieces.push(text(format!("{{ {left} {plain} {right} }}")));
        pieces
    }
}

impl Finder<'_> {
    /// Switches are asked at run time.
    fn no_constant(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(constant) = &signature.constness else { return };
        let (start, end) = self.place(block);
        let inside = |mutant: &&Mutant| start <= mutant.place.0 && mutant.place.1 <= end;
        if self.mutants.iter().any(inside) && !self.constant.contains(&signature.ident.to_string())
        {
            let place = self.place(constant);
            let inside = Some((place, Vec::new()));
            let (before, after, ids) = (Vec::new(), Vec::new(), Vec::new());
            self.nodes.push(Node { place, before, inside, after, ids });
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, found: &'ast syn::ItemFn) {
        self.no_constant(&found.sig, &found.block);
        visit::visit_item_fn(self, found);
    }

    fn visit_impl_item_fn(&mut self, found: &'ast syn::ImplItemFn) {
        self.no_constant(&found.sig, &found.block);
        visit::visit_impl_item_fn(self, found);
    }

    fn visit_expr_binary(&mut self, found: &'ast syn::ExprBinary) {
        let operator = self.place(&found.op);
        let mutants = self.at("BinaryOperator", operator);
        if !mutants.is_empty() {
            let plain = &self.source[operator.0..operator.1];
            let first = on(mutants[0].0);
            let (before, inside, after) = match plain {
                "==" | "!=" if mutants.len() == 1 => {
                    (vec![text(format!("({first} != ("))], None, vec![text("))")])
                }
                "&&" | "||" if mutants.len() == 1 => {
                    let same = if plain == "&&" { "!=" } else { "==" };
                    let then = format!("; if l {same} {first} {{ ");
                    let inside = Some((operator, vec![text(then)]));
                    (vec![text("({ let l: bool = ")], inside, vec![text(" } else { l } })")])
                }
                "==" | "!=" | "<" | ">" | "<=" | ">=" => {
                    let mut after = vec![text(")) { (l, r) => ")];
                    after.extend(self.arms(&mutants, "l", "r", plain));
                    after.push(text(" })"));
                    (vec![text("(match (&(")], Some((operator, vec![text("), &(")])), after)
                }
                _ if plain.ends_with('=') => {
                    let inside = Some((operator, vec![text(") { l => match (")]));
                    let mut after = vec![text(") { r => ")];
                    after.extend(self.arms(&mutants, "*l", "r", plain));
                    after.push(text(" } }"));
                    (vec![text("match &mut (")], inside, after)
                }
                _ => {
                    let mut after = vec![text(") { (l, r) => ")];
                    after.extend(self.arms(&mutants, "l", "r", plain));
                    after.push(text(" })"));
                    (vec![text("(match (")], Some((operator, vec![text(", ")])), after)
                }
            };
            let ids = mutants.iter().map(|(id, _)| *id).collect();
            let place = self.place(found);
            self.nodes.push(Node { place, before, inside, after, ids });
        }
        visit::visit_expr_binary(self, found);
    }

    fn visit_expr_unary(&mut self, found: &'ast syn::ExprUnary) {
        if let [(id, _)] = &self.at("UnaryOperator", self.place(&found.op))[..] {
            let on = on(*id);
            let before = match found.op {
                syn::UnOp::Not(_) => format!("({on} != "),
                _ => format!("((if {on} {{ -1 }} else {{ 1 }}) * "),
            };
            self.nodes.push(Node {
                place: self.place(found),
                before: vec![text(before)],
                inside: None,
                after: vec![text(")")],
                ids: vec![*id],
            });
        }
        visit::visit_expr_unary(self, found);
    }

    fn visit_arm(&mut self, found: &'ast syn::Arm) {
        let mut whole = self.place(found);
        // The comma belongs to the arm here and not in the list.
        if let Some(comma) = &found.comma {
            whole.1 = self.place(comma).0;
        }
        let mut deleted = self.at("MatchArm", whole);
        deleted.extend(self.at("MatchArm", self.place(found)));
        let gone = deleted.first().map(|(id, _)| *id);
        match &found.guard {
            None => {
                if let Some(id) = gone {
                    let end = self.place(&found.pat).1;
                    self.nodes.push(Node {
                        place: (end, end),
                        before: vec![text(format!(" if !{}", on(id)))],
                        inside: None,
                        after: Vec::new(),
                        ids: vec![id],
                    });
                }
            }
            Some((_, guard)) => {
                let place = self.place(guard.as_ref());
                let mutants = self.at("MatchArmGuard", place);
                let mut condition = String::from("(");
                let mut ids = Vec::new();
                for (id, replacement) in mutants.iter().filter(|(_, always)| always == "true") {
                    debug_assert_eq!(replacement, "true");
                    condition.push_str(&format!("{} || ", on(*id)));
                    ids.push(*id);
                }
                let mut off = String::new();
                for (id, _) in mutants.iter().filter(|(_, always)| always == "false") {
                    off.push_str(&format!("!{} && ", on(*id)));
                    ids.push(*id);
                }
                if let Some(id) = gone {
                    off.push_str(&format!("!{} && ", on(id)));
                    ids.push(id);
                }
                condition.push_str(&off);
                condition.push('(');
                if !ids.is_empty() {
                    let (before, after) = (vec![text(condition)], vec![text("))")]);
                    self.nodes.push(Node { place, before, inside: None, after, ids });
                }
            }
        }
        visit::visit_arm(self, found);
    }

    fn visit_expr_struct(&mut self, found: &'ast syn::ExprStruct) {
        if let Some(rest) = &found.rest {
            let rest = self.place(rest.as_ref());
            for field in &found.fields {
                // In the list the comma belongs to it.
                let begins = self.place(field).0;
                let here =
                    |mutant: &&&Mutant| mutant.genre == "StructField" && mutant.place.0 == begins;
                let deleted: Vec<usize> =
                    self.mutants.iter().filter(here).map(|mutant| mutant.id).collect();
                let syn::Member::Named(name) = &field.member else { continue };
                for id in deleted {
                    let base = &self.source[rest.0..rest.1];
                    let head = if field.colon_token.is_none() {
                        format!("{name}: ")
                    } else {
                        String::new()
                    };
                    let value = self.place(&field.expr);
                    self.nodes.push(Node {
                        place: value,
                        before: vec![text(format!(
                            "{head}if {} {{ ({base}).{name} }} else {{ ",
                            on(id)
                        ))],
                        inside: None,
                        after: vec![text(" }")],
                        ids: vec![id],
                    });
                }
            }
        }
        visit::visit_expr_struct(self, found);
    }
}
