"""What the linters do not see: who may do what, what is watched, what the code relies on.

Use: python check_template.py translated.json   (the output of translate.py)
Checks are functions; their names are the claims. Exits 1 if one does not hold.
"""

import json
import sys

# Per function: the actions that its role allows, by resource. Exact: more is as wrong as less.
ROLES = {
    "CreateOrder": {
        "Table": {
            "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem",
        },
        "NotificationQueue": {"sqs:SendMessage"},
        "ClientKeysSecret": {"secretsmanager:GetSecretValue"},
        "ProviderKeysSecret": {"secretsmanager:GetSecretValue"},
    },
    "Webhook": {
        "SettlementQueue": {"sqs:SendMessage"},
        "ProviderKeysSecret": {"secretsmanager:GetSecretValue"},
    },
    "CallbackWorker": {
        "Table": {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"},
        "ProviderKeysSecret": {"secretsmanager:GetSecretValue"},
        "SettlementQueue": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
        "SettlementDeadLetters": {"sqs:SendMessage"},
        "NotificationQueue": {"sqs:SendMessage"},
    },
    "Notifier": {
        "Table": {"dynamodb:GetItem", "dynamodb:UpdateItem"},
        "NotificationQueue": {
            "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
        },
        "NotificationDeadLetters": {"sqs:SendMessage"},
        "NotificationKeysSecret": {"secretsmanager:GetSecretValue"},
    },
    "StatusQuery": {
        "Table": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"},
        "Table/index/owner": {"dynamodb:Query"},
        "Table/index/orders": {"dynamodb:Query"},
        "ClientKeysSecret": {"secretsmanager:GetSecretValue"},
    },
    "Admin": {
        "Table": {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:UpdateItem"},
        "Table/index/owner": {"dynamodb:Query"},
        "SettlementQueue": {"sqs:SendMessage"},
        "ClientKeysSecret": {"secretsmanager:GetSecretValue"},
    },
    "ReconcilePoller": {
        "Table": {
            "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem",
        },
        "Table/index/due": {"dynamodb:Query"},
        "SettlementQueue": {"sqs:SendMessage"},
        "NotificationQueue": {"sqs:SendMessage"},
        "ProviderKeysSecret": {"secretsmanager:GetSecretValue"},
    },
}
# Rows that a function may write, by the beginning of their partition key; functions not named here may
# write whatever their actions allow.
ROWS = {
    "CallbackWorker": {
        "dynamodb:PutItem": ["P#*", "K#*", "O#*"],
        "dynamodb:UpdateItem": ["O#*", "U#*", "K#*"],
    },
    "Admin": {"dynamodb:UpdateItem": ["K#*"]},
    "Notifier": {"dynamodb:UpdateItem": ["N#*", "E#*"]},
}
# What nobody but the worker writes, whatever else a role is granted.
DENIED = {name: {"dynamodb:PutItem", "dynamodb:UpdateItem"} for name in ("CreateOrder", "ReconcilePoller")}
LEDGER_ROWS = {"ForAnyValue:StringLike": {"dynamodb:LeadingKeys": ["P#*", "K#*"]}}
LOG_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents"}
# X-Ray knows no resources: its managed policy is the one place where a function is granted "*".
MANAGED = [{"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AWSXRayDaemonWriteAccess"}]

ENVIRONMENT = {
    "CreateOrder": {
        "TABLE_NAME", "CLIENT_AUTH", "CLIENT_KEYS_SECRET", "PROVIDER_KEYS_SECRET",
        "PROVIDER_SETTINGS", "DEFAULT_PROVIDER", "NOTIFICATION_QUEUE_URL", "NOTIFICATION_PORTS",
        "OWN_HOSTS",
    },
    "Webhook": {
        "SETTLEMENT_QUEUE_URL", "PROVIDER_KEYS_SECRET", "PROVIDER_SETTINGS", "DEFAULT_PROVIDER",
    },
    "CallbackWorker": {
        "TABLE_NAME", "SETTLEMENT_DEAD_LETTER_QUEUE_URL", "SETTLEMENT_TRIES_MAX",
        "PROVIDER_SETTINGS", "NOTIFICATION_QUEUE_URL", "PROVIDER_KEYS_SECRET", "DEFAULT_PROVIDER",
        "REVIEW_TWO_FROM",
    },
    "Admin": {
        "TABLE_NAME", "SETTLEMENT_QUEUE_URL", "CLIENT_KEYS_SECRET", "REVIEW_TWO_FROM",
        "OPERATOR_MERCHANT",
    },
    "Notifier": {
        "TABLE_NAME", "NOTIFICATION_KEYS_SECRET", "NOTIFICATION_DEAD_LETTER_QUEUE_URL",
        "NOTIFICATION_TRIES_MAX", "NOTIFICATION_PORTS", "OWN_HOSTS",
    },
    "StatusQuery": {"TABLE_NAME", "CLIENT_AUTH", "CLIENT_KEYS_SECRET"},
    "ReconcilePoller": {
        "TABLE_NAME", "SETTLEMENT_QUEUE_URL", "PROVIDER_KEYS_SECRET", "PROVIDER_SETTINGS",
        "DEFAULT_PROVIDER", "NOTIFICATION_QUEUE_URL",
        "POLL_LOOKAHEAD_SECONDS",
    },
}

ROUTES = {
    "POST /recharges": "CreateOrder",
    "POST /recharges/callback": "Webhook",
    "POST /recharges/callback/{provider}": "Webhook",
    "POST /recharges/{orderId}/cancel": "CreateOrder",
    "POST /recharges/{orderId}/notify": "CreateOrder",
    "POST /events/resend": "CreateOrder",
    "GET /recharges/{orderId}/deliveries": "StatusQuery",
    "GET /events": "StatusQuery",
    "GET /recharges": "StatusQuery",
    "GET /recharges/{orderId}": "StatusQuery",
    "GET /recharges/{orderId}/explain": "StatusQuery",
    "POST /users/{userId}/deposit-addresses": "CreateOrder",
    "GET /users/{userId}/deposit-addresses": "StatusQuery",
    "GET /admin/reviews": "Admin",
    "GET /admin/reviews/{reviewId}": "Admin",
    "POST /admin/reviews/{reviewId}/resolve": "Admin",
    "GET /users/{userId}/balances": "StatusQuery",
    "GET /users/{userId}/ledger": "StatusQuery",
    "GET /health": "StatusQuery",
    "GET /openapi.json": "StatusQuery",
    "GET /docs": "StatusQuery",
    "GET /docs/viewer.js": "StatusQuery",
    "$default": "StatusQuery",
}

NAMES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::Scheduler::Schedule": "Name",
}


class Stack:
    """The translated template."""

    def __init__(self, template):
        self.resources = template["Resources"]

    def properties(self, logical_id):
        return self.resources[logical_id]["Properties"]

    def of_type(self, kind):
        return {
            logical_id: resource["Properties"]
            for logical_id, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def functions(self):
        return {
            logical_id.removesuffix("Function"): properties
            for logical_id, properties in self.of_type("AWS::Lambda::Function").items()
        }


def as_list(value):
    return value if isinstance(value, list) else [value]


def name_of(reference):
    """The logical id (with the path after it) that a Ref, a GetAtt of the Arn or a Sub of it names."""
    if isinstance(reference, str):
        return reference
    if "Ref" in reference:
        return reference["Ref"]
    if "Fn::GetAtt" in reference:
        return reference["Fn::GetAtt"][0]
    return reference["Fn::Sub"].replace("${", "").replace(".Arn}", "")


def same(what, found, wanted):
    assert found == wanted, f"{what}: found {found}, wanted {wanted}"


def inline_statements(role):
    for policy in role.get("Policies", []):
        yield from as_list(policy["PolicyDocument"]["Statement"])


def each_function_may_do_exactly_what_its_code_does(stack):
    same("functions", set(stack.functions()), set(ROLES))
    for name, function in stack.functions().items():
        same(f"{name}: role", function["Role"], {"Fn::GetAtt": [f"{name}Role", "Arn"]})
        role = stack.properties(f"{name}Role")
        granted = {}
        denied = set()
        for statement in inline_statements(role):
            if statement["Effect"] == "Deny":
                same(f"{name}: denied rows", statement["Condition"], LEDGER_ROWS)
                same(f"{name}: denied in", name_of(statement["Resource"]), "Table")
                denied.update(as_list(statement["Action"]))
                continue
            same(f"{name}: members", set(statement) - {"Condition"}, {"Effect", "Action", "Resource"})
            same(f"{name}: effect", statement["Effect"], "Allow")
            for resource in as_list(statement["Resource"]):
                actions = granted.setdefault(name_of(resource), set())
                actions.update(as_list(statement["Action"]))
        same(f"{name}: actions", granted, {f"{name}Logs": LOG_ACTIONS, **ROLES[name]})
        same(f"{name}: denied", denied, DENIED.get(name, set()))
        same(f"{name}: managed policies", role["ManagedPolicyArns"], MANAGED)


def each_function_writes_only_the_rows_that_are_its_own(stack):
    for name in stack.functions():
        found = {}
        for statement in inline_statements(stack.properties(f"{name}Role")):
            if statement["Effect"] == "Allow" and "Condition" in statement:
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                found.update({action: keys for action in as_list(statement["Action"])})
        same(f"{name}: rows", found, ROWS.get(name, {}))


def no_statement_has_a_wildcard(stack):
    for logical_id, role in stack.of_type("AWS::IAM::Role").items():
        for statement in inline_statements(role):
            for member in ("Action", "Resource"):
                assert "*" not in json.dumps(statement[member]), f"{logical_id}: {statement}"
            assert "NotAction" not in statement and "NotResource" not in statement, logical_id


def each_function_gets_the_settings_it_reads_and_no_others(stack):
    for name, function in stack.functions().items():
        found = set(function["Environment"]["Variables"])
        same(f"{name}: environment", found, ENVIRONMENT[name] | {"RUST_LOG"})


def each_function_is_built_traced_and_logged_alike(stack):
    for name, function in stack.functions().items():
        same(f"{name}: runtime", function["Runtime"], "provided.al2023")
        same(f"{name}: handler", function["Handler"], "bootstrap")
        same(f"{name}: architecture", function["Architectures"], [{"Ref": "Architecture"}])
        same(f"{name}: tracing", function["TracingConfig"], {"Mode": "Active"})
        same(f"{name}: log format", function["LoggingConfig"]["LogFormat"], "JSON")
        same(f"{name}: log group", function["LoggingConfig"]["LogGroup"], {"Ref": f"{name}Logs"})


def each_log_group_forgets(stack):
    for logical_id, group in stack.of_type("AWS::Logs::LogGroup").items():
        same(logical_id, group.get("RetentionInDays"), {"Ref": "LogRetentionDays"})


def each_function_has_an_error_alarm_that_stops_its_deployment(stack):
    for name in stack.functions():
        alarm = stack.properties(f"{name}Errors")
        same(f"{name}: metric", (alarm["Namespace"], alarm["MetricName"]), ("AWS/Lambda", "Errors"))
        same(f"{name}: dimension", alarm["Dimensions"],
             [{"Name": "FunctionName", "Value": {"Ref": f"{name}Function"}}])
        group = stack.properties(f"{name}FunctionDeploymentGroup")
        watched = [entry["Name"] for entry in group["AlarmConfiguration"]["Alarms"]]
        same(f"{name}: deployment", watched, [{"Ref": f"{name}Errors"}])


def each_dead_letter_queue_is_kept_and_has_an_alarm(stack):
    queues = stack.of_type("AWS::SQS::Queue")
    dead = {
        name_of(queue["RedrivePolicy"]["deadLetterTargetArn"])
        for queue in queues.values()
        if "RedrivePolicy" in queue
    }
    same("queues without redrive", {name for name in queues if name not in dead
                                    and "RedrivePolicy" not in queues[name]}, set())
    for name in dead:
        same(f"{name}: retention", queues[name]["MessageRetentionPeriod"], 14 * 86_400)
        same(f"{name}: deletion", stack.resources[name]["DeletionPolicy"], "Retain")
        dimension = [{"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}}]
        alarms = [
            alarm
            for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
            if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
            and alarm["Dimensions"] == dimension
            and (alarm["Threshold"], alarm["EvaluationPeriods"]) == (1, 1)
        ]
        same(f"{name}: alarms", len(alarms), 1)


def each_alarm_reaches_the_topic(stack):
    action = {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    for logical_id, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        same(logical_id, alarm["AlarmActions"], [action])


def each_queue_outlasts_its_worker_and_reports_single_failures(stack):
    sources = stack.of_type("AWS::Lambda::EventSourceMapping")
    same("event sources", len(sources), 2)
    for logical_id, source in sources.items():
        queue = stack.properties(name_of(source["EventSourceArn"]))
        worker = stack.properties(source["FunctionName"]["Ref"].removesuffix("Aliaslive"))
        assert queue["VisibilityTimeout"] >= 6 * worker["Timeout"], logical_id
        same(logical_id, source["FunctionResponseTypes"], ["ReportBatchItemFailures"])
        same(logical_id, source["BatchSize"], 10)
        same(logical_id, source["ScalingConfig"], {"MaximumConcurrency": 10})
        told = worker["Environment"]["Variables"]
        (tries,) = [int(value) for name, value in told.items() if name.endswith("_TRIES_MAX")]
        receives = queue["RedrivePolicy"]["maxReceiveCount"]
        # The worker gives up what is hopeless; the queue outlasts four hours without the table.
        assert tries < receives, logical_id
        assert receives * queue["VisibilityTimeout"] >= 4 * 3_600, logical_id
        assert receives * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"], logical_id


def the_table_has_the_keys_that_the_store_uses_and_never_forgets(stack):
    table = stack.properties("Table")

    def keys(schema):
        types = {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]}
        return [(k["KeyType"], k["AttributeName"], types[k["AttributeName"]]) for k in schema]

    same("keys", keys(table["KeySchema"]), [("HASH", "pk", "S"), ("RANGE", "sk", "S")])
    indexes = {
        index["IndexName"]: (keys(index["KeySchema"]), index["Projection"]["ProjectionType"])
        for index in table["GlobalSecondaryIndexes"]
    }
    same("indexes", indexes, {
        "due": ([("HASH", "dueShard", "S"), ("RANGE", "dueAt", "N")], "INCLUDE"),
        "owner": ([("HASH", "owner", "S"), ("RANGE", "ownerAt", "S")], "ALL"),
        "orders": ([("HASH", "merchant", "S"), ("RANGE", "createdAt", "N")], "INCLUDE"),
    })
    assert "TimeToLiveSpecification" not in table, "uniqueness rows must not expire"
    same("billing", table["BillingMode"], "PAY_PER_REQUEST")
    same("recovery", table["PointInTimeRecoverySpecification"],
         {"PointInTimeRecoveryEnabled": True})
    same("encryption", table["SSESpecification"], {"SSEEnabled": True})
    same("protection", table["DeletionProtectionEnabled"], {"Fn::If": ["IsProd", True, False]})
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        same(policy, stack.resources["Table"][policy], "Retain")


def the_secrets_come_without_a_value(stack):
    for logical_id, secret in stack.of_type("AWS::SecretsManager::Secret").items():
        same(logical_id, set(secret), {"Description"})


def each_route_goes_to_its_function(stack):
    found = {}
    for path, methods in stack.properties("HttpApi")["Body"]["paths"].items():
        for method, operation in methods.items():
            key = "$default" if operation.get("isDefaultRoute") else f"{method.upper()} {path}"
            integration = operation["x-amazon-apigateway-integration"]
            same(f"{key}: payload", integration["payloadFormatVersion"], "2.0")
            target = integration["uri"]["Fn::Sub"].split("/functions/${")[1]
            found[key] = target.split("FunctionAliaslive}")[0]
    same("routes", found, ROUTES)


def each_route_is_throttled_and_logged(stack):
    (stage,) = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    same("stage", stage["StageName"], "$default")
    assert stage["AccessLogSettings"]["DestinationArn"], "no access log"
    settings = [stage["DefaultRouteSettings"], *stage["RouteSettings"].values()]
    for setting in settings:
        assert setting["ThrottlingRateLimit"] > 0 and setting["ThrottlingBurstLimit"] > 0, setting
    same("routes with limits of their own", set(stage["RouteSettings"]) - set(ROUTES), set())


def the_poller_runs_every_minute_and_ends_before_the_next(stack):
    (schedule,) = stack.of_type("AWS::Scheduler::Schedule").values()
    same("schedule", schedule["ScheduleExpression"], "rate(1 minute)")
    same("window", schedule["FlexibleTimeWindow"], {"Mode": "OFF"})
    same("target", schedule["Target"]["Arn"], {"Ref": "ReconcilePollerFunctionAliaslive"})
    assert stack.functions()["ReconcilePoller"]["Timeout"] < 60
    alarm = stack.properties("ReconcilePollerSilent")
    same("silence", (alarm["MetricName"], alarm["TreatMissingData"]), ("Invocations", "breaching"))


def nothing_has_a_physical_name(stack):
    """So that stacks do not collide; for the schedule it is what OmitName is for."""
    for logical_id, resource in stack.resources.items():
        name = NAMES.get(resource["Type"])
        assert name not in resource["Properties"], f"{logical_id} has a {name}"


CHECKS = [
    each_function_may_do_exactly_what_its_code_does,
    each_function_writes_only_the_rows_that_are_its_own,
    no_statement_has_a_wildcard,
    each_function_gets_the_settings_it_reads_and_no_others,
    each_function_is_built_traced_and_logged_alike,
    each_log_group_forgets,
    each_function_has_an_error_alarm_that_stops_its_deployment,
    each_dead_letter_queue_is_kept_and_has_an_alarm,
    each_alarm_reaches_the_topic,
    each_queue_outlasts_its_worker_and_reports_single_failures,
    the_table_has_the_keys_that_the_store_uses_and_never_forgets,
    the_secrets_come_without_a_value,
    each_route_goes_to_its_function,
    each_route_is_throttled_and_logged,
    the_poller_runs_every_minute_and_ends_before_the_next,
    nothing_has_a_physical_name,
]


def main(path):
    with open(path, encoding="utf-8") as file:
        stack = Stack(json.load(file))
    failed = 0
    for check in CHECKS:
        try:
            check(stack)
        except (AssertionError, KeyError, ValueError) as error:
            failed += 1
            print(f"FAILED {check.__name__}: {error!r}")
        else:
            print(f"ok     {check.__name__}")
    print(f"template: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
