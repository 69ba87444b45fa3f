"""What the linters do not see: who may do what, what is watched, what the code relies on, what the documents say of it.

Use: python check_template.py [--self-test] translated.json   (the output of translate.py)
Checks are functions; their names are the claims. Exits 1 if one does not hold. With --self-test each is given templates
that break it (mutations.py), and has to notice.
"""

import copy
import json
import pathlib
import re
import sys

from expected import (
    ALARMS,
    CONDITIONS,
    DENIED,
    ENVIRONMENT,
    LOG_ACTIONS,
    MANAGED,
    METRICS,
    NAMES,
    ROLES,
    ROUTES,
    ROWS,
    WRITERS,
    WRITES,
)


class Stack:
    """The translated template, and what is written about it."""

    def __init__(self, template, documents):
        self.template = template
        self.resources = template["Resources"]
        self.documents = documents

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
        denied = []
        for statement in inline_statements(role):
            if statement["Effect"] == "Deny":
                same(f"{name}: denied in", name_of(statement["Resource"]), "Table")
                denied.append((statement["Condition"], tuple(as_list(statement["Action"]))))
                continue
            same(f"{name}: members", set(statement) - {"Condition"}, {"Effect", "Action", "Resource"})
            same(f"{name}: effect", statement["Effect"], "Allow")
            for resource in as_list(statement["Resource"]):
                actions = granted.setdefault(name_of(resource), set())
                actions.update(as_list(statement["Action"]))
        same(f"{name}: actions", granted, {f"{name}Logs": LOG_ACTIONS, **ROLES[name]})
        same(f"{name}: denied", denied, DENIED.get(name, []))
        same(f"{name}: managed policies", role["ManagedPolicyArns"], MANAGED)


def each_function_writes_only_the_rows_that_are_its_own(stack):
    for name in stack.functions():
        found = {}
        for statement in inline_statements(stack.properties(f"{name}Role")):
            if statement["Effect"] == "Allow" and "Condition" in statement:
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                found.update({action: keys for action in as_list(statement["Action"])})
        same(f"{name}: rows", found, ROWS.get(name, {}))


def may_write(role, prefix):
    """Whether the role may write a row of the table whose partition key begins so."""
    allowed = False
    for statement in inline_statements(role):
        is_write = WRITES & set(as_list(statement["Action"]))
        if not is_write or "Table" not in map(name_of, as_list(statement["Resource"])):
            continue
        keys = None
        for operator in statement.get("Condition", {}).values():
            keys = operator.get("dynamodb:LeadingKeys", keys)
        matches = keys is None or f"{prefix}*" in keys
        if statement["Effect"] == "Allow" and matches:
            allowed = True
        # A ban on attributes leaves the row itself to be written.
        if statement["Effect"] == "Deny" and keys is not None and matches:
            return False
    return allowed


def only_the_worker_writes_money(stack):
    for prefix, wanted in WRITERS.items():
        found = {name for name in stack.functions()
                 if may_write(stack.properties(f"{name}Role"), prefix)}
        same(f"writers of {prefix}", found, wanted)


def the_webhook_has_no_table_and_status_query_only_reads(stack):
    for name, banned in (("Webhook", lambda action: action.startswith("dynamodb:")),
                         ("StatusQuery", lambda action: action in WRITES or action.startswith("sqs:"))):
        for statement in inline_statements(stack.properties(f"{name}Role")):
            found = [action for action in as_list(statement["Action"]) if banned(action)]
            same(f"{name}: actions", found, [])


def nobody_but_the_audit_scans(stack):
    found = {name for name in stack.functions()
             for statement in inline_statements(stack.properties(f"{name}Role"))
             if statement["Effect"] == "Allow" and "dynamodb:Scan" in as_list(statement["Action"])}
    same("may scan", found, {"ReconcilePoller"})


def no_statement_has_a_wildcard(stack):
    for logical_id, role in stack.of_type("AWS::IAM::Role").items():
        for statement in inline_statements(role):
            for member in ("Action", "Resource"):
                assert "*" not in json.dumps(statement[member]), f"{logical_id}: {statement}"
            assert "NotAction" not in statement and "NotResource" not in statement, logical_id


def each_function_gets_the_settings_it_reads_and_no_others(stack):
    for name, function in stack.functions().items():
        found = set(function["Environment"]["Variables"])
        same(f"{name}: environment", found, ENVIRONMENT[name] | {"RUST_LOG", "STAGE", "MODE", "BUILD"})
        for setting in ("Stage", "Mode"):
            variable = function["Environment"]["Variables"][setting.upper()]
            same(f"{name}: {setting}", variable, {"Ref": setting})


def each_build_publishes_new_versions(stack):
    """infra/build puts its time into the place of this 1. In a tag it would be no change of the version: none is made then."""
    for name, function in stack.functions().items():
        same(f"{name}: BUILD", function["Environment"]["Variables"]["BUILD"], "1")
        same(f"{name}: tags", [tag["Key"] for tag in function["Tags"]], ["lambda:createdBy"])


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


def each_function_has_an_error_alarm(stack):
    for name in stack.functions():
        alarm = stack.properties(f"{name}Errors")
        same(f"{name}: metric", (alarm["Namespace"], alarm["MetricName"]), ("AWS/Lambda", "Errors"))
        same(f"{name}: dimension", alarm["Dimensions"],
             [{"Name": "FunctionName", "Value": {"Ref": f"{name}Function"}}])
        # What crashes a worker comes back after the visibility timeout, never in the next minute.
        wanted = (1, 2, 15) if name in ("CallbackWorker", "Notifier") else (1, 2, 2)
        periods = alarm["EvaluationPeriods"]
        found = (alarm["Threshold"], alarm.get("DatapointsToAlarm", periods), periods)
        same(f"{name}: from", found, wanted)


def each_rollout_moves_the_alias_and_stops_at_the_new_versions_errors(stack):
    for name in stack.functions():
        alias = stack.resources[f"{name}FunctionAliaslive"]
        same(f"{name}: alias", alias["Properties"]["Name"], "live")
        version = alias["Properties"]["FunctionVersion"]["Fn::GetAtt"]
        rollout = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        same(f"{name}: rollout", rollout["DeploymentGroupName"], {"Ref": f"{name}FunctionDeploymentGroup"})
        group = stack.properties(f"{name}FunctionDeploymentGroup")
        same(f"{name}: canary", group["DeploymentConfigName"]["Fn::If"][0], "IsProd")
        # One run a minute: five minutes with a tenth of them would mostly pass without the new version.
        pace = "Linear10PercentEvery1Minute" if name == "ReconcilePoller" else "Canary10Percent5Minutes"
        assert pace in json.dumps(group["DeploymentConfigName"]["Fn::If"][1]), name
        goes_back = group["AutoRollbackConfiguration"]
        same(f"{name}: goes back", goes_back["Enabled"], True)
        assert "DEPLOYMENT_STOP_ON_ALARM" in goes_back["Events"], name
        watched = [entry["Name"] for entry in group["AlarmConfiguration"]["Alarms"]]
        function = re.sub("(?<!^)(?=[A-Z])", "-", name).lower()
        wanted = {
            f"{name}NewVersionErrors": ("AWS/Lambda", "Errors", {
                "FunctionName": {"Ref": f"{name}Function"},
                "Resource": {"Fn::Sub": f"${{{name}Function}}:live"},
                "ExecutedVersion": {"Fn::GetAtt": version},
            }),
            f"{name}NewVersionFailures": ("Recharge", "Failures", {
                "Stage": {"Ref": "Stage"}, "Function": function, "Version": {"Fn::GetAtt": version},
            }),
        }
        same(f"{name}: watched", watched, [{"Ref": alarm} for alarm in wanted])
        for logical_id, watches in wanted.items():
            # One metric each: of one that was never written nobody says what an expression makes.
            alarm = stack.properties(logical_id)
            dimensions = {d["Name"]: d["Value"] for d in alarm["Dimensions"]}
            same(f"{logical_id}: watches", (alarm["Namespace"], alarm["MetricName"], dimensions), watches)
            same(f"{logical_id}: from", (alarm["Statistic"], alarm["Period"], alarm["Threshold"],
                                         alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"],
                                         alarm["ComparisonOperator"], alarm["TreatMissingData"]),
                 ("Sum", 60, 1, 1, 3, "GreaterThanOrEqualToThreshold", "notBreaching"))


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
            if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible"
            and alarm.get("Dimensions") == dimension
            and (alarm["Threshold"], alarm["EvaluationPeriods"]) == (1, 1)
        ]
        same(f"{name}: alarms", len(alarms), 1)


def what_providers_were_told_is_safe_outlives_the_stack(stack):
    for member in ("DeletionPolicy", "UpdateReplacePolicy"):
        same(f"SettlementQueue: {member}", stack.resources["SettlementQueue"].get(member), "Retain")


def each_alarm_reaches_the_topic(stack):
    action = {"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}
    for logical_id, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        same(logical_id, alarm["AlarmActions"], [action])


def each_queue_has_an_alarm_on_its_age(stack):
    for logical_id, queue in stack.of_type("AWS::SQS::Queue").items():
        if "RedrivePolicy" not in queue:
            continue
        dimension = [{"Name": "QueueName", "Value": {"Fn::GetAtt": [logical_id, "QueueName"]}}]
        alarms = [alarm for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
                  if alarm.get("MetricName") == "ApproximateAgeOfOldestMessage"
                  and alarm.get("Dimensions") == dimension]
        same(f"{logical_id}: alarms", len(alarms), 1)


def those_who_take_confirmations_have_an_alarm_on_throttles(stack):
    for name in ("Webhook", "CallbackWorker"):
        alarm = stack.properties(f"{name}Throttled")
        same(name, (alarm["MetricName"], alarm["Dimensions"]),
             ("Throttles", [{"Name": "FunctionName", "Value": {"Ref": f"{name}Function"}}]))


def each_api_has_an_alarm_on_its_errors(stack):
    for api, logical_id in (("HttpApi", "Api5xx"), ("TokenApi", "TokenApi5xx")):
        alarm = stack.properties(logical_id)
        same(logical_id, (alarm["MetricName"], alarm["Dimensions"]),
             ("5xx", [{"Name": "ApiId", "Value": {"Ref": api}}]))


def the_table_has_alarms(stack):
    for logical_id, metrics, least in (
        ("TableThrottled", {"ReadThrottleEvents", "WriteThrottleEvents"}, 8),
        ("TableFails", {"SystemErrors"}, 6),
    ):
        parts = [part["MetricStat"]["Metric"] for part in stack.properties(logical_id)["Metrics"]
                 if "MetricStat" in part]
        same(f"{logical_id}: metrics", {part["MetricName"] for part in parts}, metrics)
        dimensions = {json.dumps([part["MetricName"], part["Dimensions"]]) for part in parts}
        same(f"{logical_id}: distinct", len(dimensions), least)
        expressions = [part["Expression"] for part in stack.properties(logical_id)["Metrics"] if "Expression" in part]
        same(f"{logical_id}: sum", expressions, ["SUM(METRICS())"])    # FILL would be 0 in the newest minute
    indexes = {index["IndexName"] for index in stack.properties("Table")["GlobalSecondaryIndexes"]}
    watched = {d["Value"] for part in stack.properties("TableThrottled")["Metrics"] if "MetricStat" in part
               for d in part["MetricStat"]["Metric"]["Dimensions"] if d["Name"] != "TableName"}
    same("indexes", watched, indexes)


def the_functions_own_metrics_have_their_alarms(stack):
    found = {}
    for logical_id, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        if alarm.get("Namespace") != "Recharge" or "NewVersion" in logical_id:
            continue
        metric = alarm["MetricName"]
        dimensions = {d["Name"]: d["Value"] for d in alarm["Dimensions"]}
        same(f"{logical_id}: stage", dimensions.pop("Stage"), {"Ref": "Stage"})
        wanted = {"Outcome": "given_up"} if metric == "Notifications" else {}
        same(f"{logical_id}: dimensions", dimensions, wanted)
        found[metric] = (alarm.get("Statistic") or alarm["ExtendedStatistic"], alarm["Threshold"])
    same("alarms", found, ALARMS)
    same("CallbacksRefused: from", stack.properties("CallbacksRefused")["Threshold"], 3)
    (refused,) = stack.properties("CallbacksRefused")["Metrics"]
    same("CallbacksRefused: in", refused["Period"], 3_600)
    for part in ("SUM(Callbacks)", '"Recharge", Outcome, Provider, Stage', "'${Stage}'", "'refused'"):
        assert part in refused["Expression"]["Fn::Sub"], f"CallbacksRefused: no {part}"
    (missing,) = stack.properties("ConfirmationsMissing")["Metrics"]
    for part in ("SUM(Settlements)", '"Recharge", Outcome, Provider, Stage', "'${Stage}'", "'not_confirmed'"):
        assert part in missing["Expression"]["Fn::Sub"], f"ConfirmationsMissing: no {part}"


def the_dashboard_shows_every_metric_and_alarm(stack):
    text = stack.properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(text)["widgets"]
    shown = {match for match in re.findall(r"\$\{(\w+)\.Arn\}", text)}
    # An alarm that may not be there cannot be shown; those of rollouts are not of interest afterwards.
    alarms = {name for name in stack.of_type("AWS::CloudWatch::Alarm")
              if "NewVersion" not in name and "Condition" not in stack.resources[name]}
    same("alarms", shown, alarms)
    found = {}
    for widget in widgets:
        for row in widget["properties"].get("metrics", []):
            if row[0] == "Recharge":
                found.setdefault(row[1], set())
                same(f"{row[1]}: stage", row[2:4], ["Stage", "${Stage}"])
            elif isinstance(row[0], dict):
                names, metric = re.match(
                    r"SEARCH\('\{Recharge,([\w,]+)\} MetricName=\"(\w+)\" Stage=\"\$\{Stage\}\"'",
                    row[0]["expression"]).groups()
                found[metric] = set(names.split(",")) - {"Stage"}
    known = {metric: dimensions if found.get(metric) else set() for metric, dimensions in METRICS.items()}
    same("metrics", found, known)
    for name in stack.functions():
        assert f"${{{name}Function}}" in text, f"{name} is not on the dashboard"
    for name in stack.of_type("AWS::SQS::Queue"):
        assert f"${{{name}.QueueName}}" in text, f"{name} is not on the dashboard"


def each_alarm_is_explained_in_the_runbook(stack):
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    explained = []
    for section in re.split(r"^## ", stack.documents["docs/runbook.md"], flags=re.MULTILINE)[1:]:
        heading, text = section.split("\n", 1)
        names = re.findall(r"`(\w+)`", heading)
        if not names:
            continue                # of another kind: "Before you begin"
        explained.extend(names)
        for name in names:
            assert name in alarms, f"the runbook explains {name}, which is no alarm"
            description = alarms[name]["AlarmDescription"]
            assert f"*{description}.*" in text, f"{name}: the runbook does not quote {description!r}"
        for part in ("**What the customer sees.**", "**Look.**", "**Mend.**", "**Over**", "**Never**"):
            assert part in text, f"{heading}: no {part}"
    same("alarms without a section", sorted(set(alarms) - set(explained)), [])
    same("sections", len(explained), len(set(explained)))


def each_parameter_and_output_is_described(stack):
    for name, parameter in stack.template["Parameters"].items():
        assert parameter.get("Description"), f"{name} has no description"
    for name, output in stack.template["Outputs"].items():
        assert output.get("Description"), f"{name} has no description"
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", stack.documents["docs/deploy.md"], re.MULTILINE)
    wanted = {
        name: "empty" if parameter["Default"] == "" else f"`{parameter['Default']}`"
        for name, parameter in stack.template["Parameters"].items()
    }
    same("parameters in docs/deploy.md", {name: default.strip() for name, default in rows}, wanted)


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
        # A worker may be stopped until a cause is known, and what waits is nowhere else: the most that SQS keeps.
        same(f"{logical_id}: retention", queue["MessageRetentionPeriod"], 14 * 86_400)


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
    for logical_id, each in stack.of_type("AWS::DynamoDB::Table").items():
        assert "TimeToLiveSpecification" not in each, f"{logical_id}: uniqueness rows must not expire"
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


def the_document_has_the_same_routes(stack):
    paths = stack.documents["docs/openapi.json"]["paths"]
    verbs = {"get", "post", "put", "patch", "delete"}
    found = {f"{verb.upper()} {path}" for path, item in paths.items() for verb in item if verb in verbs}
    same("routes in docs/openapi.json", found, set(ROUTES) - {"$default", "GET /docs/viewer.js"})


def tokens_have_an_api_of_their_own_and_every_route_of_it_asks_for_one(stack):
    routes = stack.of_type("AWS::ApiGatewayV2::Route")
    found = {}
    for logical_id, route in routes.items():
        same(f"{logical_id}: api", route["ApiId"], {"Ref": "TokenApi"})
        same(f"{logical_id}: authorizer", (route["AuthorizationType"], route["AuthorizerId"]),
             ("JWT", {"Ref": "TokenAuthorizer"}))
        integration = stack.properties(f"{logical_id}Integration")
        same(f"{logical_id}: target", route["Target"], {"Fn::Sub": f"integrations/${{{logical_id}Integration}}"})
        same(f"{logical_id}: payload", integration["PayloadFormatVersion"], "2.0")
        function = integration["IntegrationUri"]["Ref"]
        permission = stack.properties(f"{logical_id}Permission")
        same(f"{logical_id}: permission", permission["FunctionName"], {"Ref": function})
        assert "${TokenApi}/*" in permission["SourceArn"]["Fn::Sub"], logical_id
        found[route["RouteKey"]] = function
    same("routes", found, {"POST /{proxy+}": "CreateOrderFunctionAliaslive",
                           "$default": "StatusQueryFunctionAliaslive"})
    jwt = stack.properties("TokenAuthorizer")
    same("issuer", jwt["JwtConfiguration"]["Issuer"], {"Ref": "JwtIssuer"})
    same("audience", jwt["JwtConfiguration"]["Audience"], {"Fn::Split": [",", {"Ref": "JwtAudience"}]})
    # An authorizer on the main API would refuse every signature.
    assert "security" not in json.dumps(stack.properties("HttpApi")), "HttpApi has an authorizer"
    for name in ("CreateOrder", "StatusQuery"):
        told = stack.functions()[name]["Environment"]["Variables"]["CLIENT_AUTH"]
        same(f"{name}: CLIENT_AUTH", told, {"Ref": "ClientAuth"})


def what_is_optional_is_conditional_and_nothing_else_is(stack):
    found = {logical_id: resource["Condition"] for logical_id, resource in stack.resources.items()
             if "Condition" in resource}
    same("conditions", found, CONDITIONS)
    same("rules", set(stack.template["Rules"]), {"DomainHasCertificate", "TokensHaveIssuer"})


def each_route_is_throttled_and_logged(stack):
    stages = stack.of_type("AWS::ApiGatewayV2::Stage")
    same("stages", set(stages), {"HttpApiApiGatewayDefaultStage", "TokenStage"})
    for logical_id, stage in stages.items():
        same(logical_id, stage["StageName"], "$default")
        same(f"{logical_id}: log", stage["AccessLogSettings"]["DestinationArn"], {"Fn::GetAtt": ["ApiLogs", "Arn"]})
        own = stage.get("RouteSettings", {})
        for setting in [stage["DefaultRouteSettings"], *own.values()]:
            assert setting["ThrottlingRateLimit"] > 0 and setting["ThrottlingBurstLimit"] > 0, setting
        same("routes with limits of their own", set(own) - set(ROUTES), set())


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
    only_the_worker_writes_money,
    the_webhook_has_no_table_and_status_query_only_reads,
    nobody_but_the_audit_scans,
    no_statement_has_a_wildcard,
    each_function_gets_the_settings_it_reads_and_no_others,
    each_build_publishes_new_versions,
    each_function_is_built_traced_and_logged_alike,
    each_log_group_forgets,
    each_function_has_an_error_alarm,
    each_rollout_moves_the_alias_and_stops_at_the_new_versions_errors,
    each_dead_letter_queue_is_kept_and_has_an_alarm,
    what_providers_were_told_is_safe_outlives_the_stack,
    each_alarm_reaches_the_topic,
    each_queue_has_an_alarm_on_its_age,
    those_who_take_confirmations_have_an_alarm_on_throttles,
    each_api_has_an_alarm_on_its_errors,
    the_table_has_alarms,
    the_functions_own_metrics_have_their_alarms,
    the_dashboard_shows_every_metric_and_alarm,
    each_alarm_is_explained_in_the_runbook,
    each_parameter_and_output_is_described,
    each_queue_outlasts_its_worker_and_reports_single_failures,
    the_table_has_the_keys_that_the_store_uses_and_never_forgets,
    the_secrets_come_without_a_value,
    each_route_goes_to_its_function,
    the_document_has_the_same_routes,
    tokens_have_an_api_of_their_own_and_every_route_of_it_asks_for_one,
    what_is_optional_is_conditional_and_nothing_else_is,
    each_route_is_throttled_and_logged,
    the_poller_runs_every_minute_and_ends_before_the_next,
    nothing_has_a_physical_name,
]


def failures(template, documents):
    """The checks that do not hold, with what they say."""
    stack = Stack(template, documents)
    failed = {}
    for check in CHECKS:
        try:
            check(stack)
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            failed[check.__name__] = repr(error)
    return failed


def self_test(template, documents):
    """Breaks the template in every known way; a check that does not notice has failed."""
    from mutations import MUTATIONS

    blind = []
    for claim, what, mutate in MUTATIONS:
        broken = copy.deepcopy((template, documents))
        mutate(*broken)
        assert broken != (template, documents), f"{what}: nothing is changed"
        if claim not in failures(*broken):
            blind.append(f"FAILED {claim} does not notice: {what}")
    tried = {claim for claim, _, _ in MUTATIONS}
    blind.extend(f"FAILED {check.__name__} is never tried" for check in CHECKS if check.__name__ not in tried)
    print("\n".join(blind) if blind else f"self-test: {len(MUTATIONS)} broken templates, all noticed")
    return 1 if blind else 0


def main(arguments):
    root = pathlib.Path(__file__).resolve().parent.parent
    template = json.loads(pathlib.Path(arguments[-1]).read_text(encoding="utf-8"))
    documents = {name: (root / name).read_text(encoding="utf-8") for name in ("docs/runbook.md", "docs/deploy.md")}
    documents["docs/openapi.json"] = json.loads((root / "docs/openapi.json").read_text(encoding="utf-8"))
    failed = failures(template, documents)
    for check in CHECKS:
        name = check.__name__
        print(f"FAILED {name}: {failed[name]}" if name in failed else f"ok     {name}")
    print(f"template: {len(CHECKS) - len(failed)} passed, {len(failed)} failed")
    if failed:
        return 1
    return self_test(template, documents) if "--self-test" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
