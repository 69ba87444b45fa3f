//! CloudFormation's functions over parameters, conditions and the local names of resources.
//!
//! What has no local meaning (a role's ARN, an API's id) stays readable as `${LogicalId.Attribute}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use serde_yaml_ng::Value as Yaml;

use super::super::sqs::ACCOUNT;
use super::TemplateError;

/// Conditions refer to conditions; a template that goes deeper goes in circles.
const DEPTH_MAX: u32 = 32;

/// What a resource is called locally: the value of `!Ref`, and those of `!GetAtt`.
#[derive(Debug, Clone, Default)]
pub struct Local {
    pub reference: String,
    pub attributes: BTreeMap<&'static str, String>,
}

/// Everything a reference can mean.
#[derive(Debug, Default)]
pub struct Resolver {
    pub parameters: BTreeMap<String, Json>,
    pub conditions: BTreeMap<String, Yaml>,
    pub resources: BTreeMap<String, Local>,
}

/// The function of a value and its argument: `!Sub x`, or `Fn::Sub: x` as the only key of a mapping.
fn function(value: &Yaml) -> Option<(String, &Yaml)> {
    if let Yaml::Tagged(tagged) = value {
        let tag = tagged.tag.to_string();
        return Some((tag.trim_start_matches('!').to_owned(), &tagged.value));
    }
    let mapping = value.as_mapping().filter(|mapping| mapping.len() == 1)?;
    let (key, argument) = mapping.iter().next()?;
    let key = key.as_str()?;
    let name = if key == "Ref" { Some(key) } else { key.strip_prefix("Fn::") };
    name.map(|name| (name.to_owned(), argument))
}

impl Resolver {
    /// The value with every function applied; nothing for `AWS::NoValue`.
    pub fn resolve(&self, value: &Yaml) -> Result<Option<Json>, TemplateError> {
        if let Some((name, argument)) = function(value) {
            return self.apply(&name, argument);
        }
        Ok(Some(match value {
            Yaml::Sequence(items) => {
                let items = items.iter().map(|item| self.resolve(item));
                Json::Array(items.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
            Yaml::Mapping(mapping) => {
                let mut object = Map::new();
                for (key, value) in mapping {
                    if let Some(value) = self.resolve(value)? {
                        object.insert(text(&plain(key)), value);
                    }
                }
                Json::Object(object)
            }
            scalar => plain(scalar),
        }))
    }

    fn apply(&self, name: &str, argument: &Yaml) -> Result<Option<Json>, TemplateError> {
        let wrong = || TemplateError::new(format!("!{name} is not written as expected"));
        Ok(Some(match name {
            "Ref" => return Ok(self.reference(argument.as_str().ok_or_else(wrong)?)),
            "GetAtt" => Json::String(self.attribute(&dotted(argument).ok_or_else(wrong)?)),
            "Sub" => Json::String(self.substitute(argument)?.ok_or_else(wrong)?),
            "If" => {
                let [condition, yes, no] = array(argument).ok_or_else(wrong)?;
                let holds = self.condition(condition.as_str().ok_or_else(wrong)?)?;
                return self.resolve(if holds { yes } else { no });
            }
            "Join" => {
                let [separator, items] = array(argument).ok_or_else(wrong)?;
                let items = self.resolve(items)?.unwrap_or_default();
                let items: Vec<String> = items.as_array().into_iter().flatten().map(text).collect();
                Json::String(items.join(separator.as_str().ok_or_else(wrong)?))
            }
            "Split" => {
                let [separator, joined] = array(argument).ok_or_else(wrong)?;
                let joined = text(&self.resolve(joined)?.unwrap_or_default());
                joined.split(separator.as_str().ok_or_else(wrong)?).map(str::to_owned).collect()
            }
            "Select" => {
                let [index, items] = array(argument).ok_or_else(wrong)?;
                let index = text(&self.resolve(index)?.unwrap_or_default());
                let items = self.resolve(items)?.unwrap_or_default();
                let index: usize = index.parse().map_err(|_| wrong())?;
                items.get(index).cloned().ok_or_else(wrong)?
            }
            "Equals" | "Not" | "And" | "Or" | "Condition" => {
                Json::Bool(self.holds(&Tagged { name, argument }, 0)?)
            }
            // Mappings, imports and the like do not occur; they stay visible if they ever do.
            other => Json::String(format!("${{Fn::{other}}}")),
        }))
    }

    fn reference(&self, name: &str) -> Option<Json> {
        if name == "AWS::NoValue" {
            return None;
        }
        let resource = self.resources.get(name).map(|local| Json::from(local.reference.as_str()));
        let known = self.parameters.get(name).cloned().or(resource);
        Some(known.or_else(|| pseudo(name).map(Json::from)).unwrap_or_else(|| unresolved(name)))
    }

    fn attribute(&self, dotted: &str) -> String {
        let known = dotted.split_once('.').and_then(|(id, attribute)| {
            self.resources.get(id).and_then(|local| local.attributes.get(attribute)).cloned()
        });
        known.unwrap_or_else(|| format!("${{{dotted}}}"))
    }

    /// Replaces `${..}`; nothing when the argument is neither a text nor a text with variables.
    fn substitute(&self, argument: &Yaml) -> Result<Option<String>, TemplateError> {
        let (pattern, variables) = match (argument.as_str(), array(argument)) {
            (Some(pattern), _) => (pattern, Json::Null),
            (None, Some([pattern, variables])) => {
                let Some(pattern) = pattern.as_str() else { return Ok(None) };
                (pattern, self.resolve(variables)?.unwrap_or_default())
            }
            (None, None) => return Ok(None),
        };
        let mut done = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            done.push_str(before);
            match (name.strip_prefix('!'), variables.get(name)) {
                (Some(literal), _) => done.push_str(&format!("${{{literal}}}")),
                (None, Some(value)) => done.push_str(&text(value)),
                (None, None) if name.contains('.') => done.push_str(&self.attribute(name)),
                (None, None) => done.push_str(&text(&self.reference(name).unwrap_or_default())),
            }
            rest = tail;
        }
        done.push_str(rest);
        Ok(Some(done))
    }

    /// Whether the named condition holds.
    pub fn condition(&self, name: &str) -> Result<bool, TemplateError> {
        self.named(name, 0)
    }

    fn named(&self, name: &str, depth: u32) -> Result<bool, TemplateError> {
        let condition = self.conditions.get(name).filter(|_| depth < DEPTH_MAX);
        let condition = condition
            .ok_or_else(|| TemplateError::new(format!("the condition {name} is not defined")))?;
        self.test(condition, depth + 1)
    }

    fn test(&self, condition: &Yaml, depth: u32) -> Result<bool, TemplateError> {
        if let Some((name, argument)) = function(condition) {
            return self.holds(&Tagged { name: &name, argument }, depth);
        }
        match condition.get("Condition").and_then(Yaml::as_str) {
            Some(name) => self.named(name, depth),
            None => Err(TemplateError::new("a condition is not written as expected")),
        }
    }

    fn holds(
        &self,
        Tagged { name, argument }: &Tagged<'_>,
        depth: u32,
    ) -> Result<bool, TemplateError> {
        let wrong =
            || TemplateError::new(format!("the condition !{name} is not written as expected"));
        let tests = || -> Result<Vec<bool>, TemplateError> {
            let items = argument.as_sequence().ok_or_else(wrong)?;
            items.iter().map(|item| self.test(item, depth)).collect()
        };
        Ok(match *name {
            "Equals" => {
                let [left, right] = array(argument).ok_or_else(wrong)?;
                let side = |side| Ok(text(&self.resolve(side)?.unwrap_or_default()));
                side(left)? == side(right)?
            }
            "Not" => !*tests()?.first().ok_or_else(wrong)?,
            "And" => tests()?.into_iter().all(|holds| holds),
            "Or" => tests()?.into_iter().any(|holds| holds),
            "Condition" => self.named(argument.as_str().ok_or_else(wrong)?, depth)?,
            _ => return Err(wrong()),
        })
    }
}

struct Tagged<'a> {
    name: &'a str,
    argument: &'a Yaml,
}

fn array<const N: usize>(value: &Yaml) -> Option<&[Yaml; N]> {
    value.as_sequence()?.as_slice().try_into().ok()
}

/// `A.B`, written as a text or as a list.
fn dotted(argument: &Yaml) -> Option<String> {
    if let Some([id, attribute]) = array(argument) {
        return Some(format!("{}.{}", id.as_str()?, attribute.as_str()?));
    }
    argument.as_str().map(str::to_owned)
}

fn pseudo(name: &str) -> Option<&'static str> {
    Some(match name {
        "AWS::StackName" => "recharge",
        "AWS::Region" => "us-east-1",
        "AWS::AccountId" => ACCOUNT,
        "AWS::Partition" => "aws",
        "AWS::URLSuffix" => "amazonaws.com",
        _ => return None,
    })
}

fn unresolved(name: &str) -> Json {
    Json::String(format!("${{{name}}}"))
}

/// A scalar without functions.
fn plain(value: &Yaml) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

/// The value as CloudFormation writes it into a text.
pub fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
