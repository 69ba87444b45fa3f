"""What check_template.py holds the template against: who may do what, settings, routes, metrics, alarms."""

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
        "Table": {
            "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem",
        },
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
            "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan",
            "dynamodb:UpdateItem",
        },
        "Table/index/due": {"dynamodb:Query"},
        "Table/index/owner": {"dynamodb:Query"},
        "SettlementQueue": {"sqs:SendMessage"},
        "NotificationQueue": {"sqs:SendMessage"},
        "ProviderKeysSecret": {"secretsmanager:GetSecretValue"},
    },
}
# Rows that a function may write, by the beginning of their partition key.
ROWS = {
    "CreateOrder": {
        "dynamodb:PutItem": ["O#*", "R#*", "A#*"],
        "dynamodb:UpdateItem": ["O#*", "U#*", "L#*"],
    },
    "CallbackWorker": {
        "dynamodb:PutItem": ["P#*", "K#*", "O#*"],
        "dynamodb:UpdateItem": ["O#*", "U#*", "K#*", "T#*"],
    },
    "Admin": {"dynamodb:UpdateItem": ["K#*"]},
    "Notifier": {"dynamodb:UpdateItem": ["N#*", "E#*"]},
    "ReconcilePoller": {
        "dynamodb:PutItem": ["A#*"],
        "dynamodb:UpdateItem": ["O#*", "N#*", "U#*", "C#*"],
    },
}
# What nobody but the worker writes, whatever else a role is granted: balances, which share their partition with the
# addresses that these two update.
DENIED = {
    name: [
        ({"ForAnyValue:StringEquals": {"dynamodb:Attributes": ["balance"]}}, ("dynamodb:PutItem", "dynamodb:UpdateItem")),
    ]
    for name in ("CreateOrder", "ReconcilePoller")
}
WRITES = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}
# Who may write a row that begins so.
WRITERS = {
    "P#": {"CallbackWorker"},
    "K#": {"CallbackWorker", "Admin"},
    "U#": {"CallbackWorker", "CreateOrder", "ReconcilePoller"},     # the latter two: addresses, no balances
    "O#": {"CallbackWorker", "CreateOrder", "ReconcilePoller"},
    "N#": {"Notifier", "ReconcilePoller"},
    "A#": {"CreateOrder", "ReconcilePoller"},
    "C#": {"ReconcilePoller"},
    "E#": {"Notifier"},
    "L#": {"CreateOrder"},
    "R#": {"CreateOrder"},
    "M#": set(),            # operators alone
}
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
        "POLL_LOOKAHEAD_SECONDS", "AUDIT_PAGE",
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

# The metrics that the functions write, by the dimensions that they have beside Stage.
METRICS = {
    "Creates": {"Outcome"}, "CreateLatency": set(), "ProviderCalls": {"Provider", "Outcome"},
    "ProviderLatency": {"Provider"}, "Callbacks": {"Provider", "Outcome"},
    "Settlements": {"Provider", "Outcome"}, "TimeToCredit": {"Provider"}, "Parked": {"Provider"},
    "Notifications": {"Outcome"}, "DueBacklog": set(), "OldestDueSeconds": set(),
    "PendingBeyondSla": set(), "ProviderSilent": {"Provider"}, "ListBehindSeconds": {"Provider"}, "PaidWithoutRecord": set(),
    "BooksUnbalanced": set(), "OrdersWithoutProvider": set(), "Failures": {"Function", "Version"}, "WriteUnits": {"Function"}, "ReadUnits": {"Function"},
}
# What somebody is told of without looking, and from when on.
ALARMS = {
    "PendingBeyondSla": ("Maximum", 1), "ProviderSilent": ("Maximum", 1), "ListBehindSeconds": ("Maximum", 1_800),
    "PaidWithoutRecord": ("Maximum", 1), "BooksUnbalanced": ("Maximum", 1),
    "OrdersWithoutProvider": ("Maximum", 1),
    "Notifications": ("Sum", 1), "Parked": ("Sum", 1), "TimeToCredit": ("p99", 600_000),
}

CONDITIONS = {
    "ApiDomain": "HasDomain", "ApiDomainMapping": "HasDomain", "ApiDomainRecords": "HasHostedZone",
    "TokenApi": "HasTokens", "TokenAuthorizer": "HasTokens", "TokenStage": "HasTokens",
    "TokenWrites": "HasTokens", "TokenWritesIntegration": "HasTokens", "TokenWritesPermission": "HasTokens",
    "TokenApi5xx": "HasTokens",
    "TokenReads": "HasTokens", "TokenReadsIntegration": "HasTokens", "TokenReadsPermission": "HasTokens",
}

NAMES = {
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::Scheduler::Schedule": "Name",
}
