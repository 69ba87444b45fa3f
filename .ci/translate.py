"""Prints infra/template.yaml as the plain CloudFormation that a deployment would see, without AWS.

The linters see little inside AWS::Serverless::* resources; what they become is checked instead.
Use: AWS_DEFAULT_REGION=us-east-1 python translate.py TEMPLATE > translated.json
"""

import json
import logging
import sys

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# What a local folder is after packaging; without BuildMethod, which only `sam build` knows.
PACKAGE = {"Bucket": "packages", "Key": "bootstrap.zip"}


def translate(path):
    logging.disable(logging.WARNING)
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = PACKAGE
            resource.pop("Metadata")
    defaults = {
        name: parameter["Default"]
        for name, parameter in template["Parameters"].items()
        if "Default" in parameter
    }
    # No managed policies to look up by name: every function brings its own role.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    return translator.translate(template, defaults)


if __name__ == "__main__":
    json.dump(translate(sys.argv[1]), sys.stdout, indent=1)
