// The .NET end of an interoperability test: NegotiateStream or SslStream, client or server.
//
// Started with one JSON object as its only argument, it prints one JSON object a line; `event` says what happened. A server
// listens on a free port of 127.0.0.1, echoes what it reads, and serves until it is ended. A client sends `sizes` one after the
// other, checks that each comes back, and ends. A commander takes further such objects from its standard input, a line each,
// and runs each at once as the server or client that it describes; their events carry its `case`. Compiled as C# 8 against the assemblies of .NET Core 3.1, run by .NET 8.

using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.IO;
using System.Linq;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Security.Principal;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;

internal sealed class Settings
{
    private readonly JsonElement root;

    public Settings(string json) => root = JsonDocument.Parse(json).RootElement;

    public string Text(string name, string absent = null) =>
        root.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value.GetString() : absent;

    public int Number(string name, int absent) => root.TryGetProperty(name, out var value) ? value.GetInt32() : absent;

    public bool Flag(string name) => root.TryGetProperty(name, out var value) && value.GetBoolean();

    public IEnumerable<JsonElement> Items(string name) =>
        root.TryGetProperty(name, out var value) ? value.EnumerateArray() : Enumerable.Empty<JsonElement>();

    public T Choice<T>(string name, T absent) where T : struct =>
        Text(name) is string text ? Enum.Parse<T>(text) : absent;
}

internal static class Report
{
    private static readonly object Gate = new object();

    // Which of a commander's objects the running code belongs to.
    public static readonly AsyncLocal<string> Case = new AsyncLocal<string>();

    public static void Event(string name, params (string Key, object Value)[] facts)
    {
        var line = new Dictionary<string, object> { ["event"] = name };
        if (Case.Value != null) line["case"] = Case.Value;
        foreach (var (key, value) in facts) line[key] = value;
        lock (Gate)
        {
            Console.Out.WriteLine(JsonSerializer.Serialize(line));
            Console.Out.Flush();
        }
    }

    // Each exception of the chain; a Win32Exception inside carries the code that came over the wire.
    public static void Failure(string during, Exception error)
    {
        var chain = new List<Dictionary<string, object>>();
        for (var one = error; one != null; one = one.InnerException)
        {
            chain.Add(new Dictionary<string, object>
            {
                ["type"] = one.GetType().Name,
                ["message"] = one.Message,
                ["hresult"] = unchecked((uint)one.HResult),
                ["native"] = one is Win32Exception native ? (object)unchecked((uint)native.NativeErrorCode) : null,
            });
        }
        Event("failed", ("during", during), ("chain", chain));
    }
}

internal abstract class Protocol
{
    protected readonly Settings Settings;

    protected Protocol(Settings settings) => Settings = settings;

    public static Protocol For(Settings settings) =>
        settings.Text("protocol") == "tls" ? (Protocol)new Tls(settings) : new Negotiate(settings);

    public abstract Task<Stream> Accept(Stream transport);

    public abstract Task<Stream> Connect(Stream transport);

    public virtual Task Close(Stream stream) => Task.CompletedTask;
}

internal sealed class Negotiate : Protocol
{
    public Negotiate(Settings settings) : base(settings) { }

    private ProtectionLevel Level => Settings.Choice("level", ProtectionLevel.EncryptAndSign);

    private int Attempts => Settings.Number("attempts", 1);

    private TokenImpersonationLevel Impersonation => Settings.Choice("impersonation", TokenImpersonationLevel.Identification);

    private NetworkCredential Credential => As(Settings.Text("password"));

    private NetworkCredential As(string password) => Settings.Text("user") is string user
        ? new NetworkCredential(user, password, Settings.Text("domain", ""))
        : CredentialCache.DefaultNetworkCredentials;

    public override async Task<Stream> Accept(Stream transport)
    {
        for (var left = Attempts; ; left--)
        {
            var stream = new NegotiateStream(transport, leaveInnerStreamOpen: left > 1);
            try
            {
                await stream.AuthenticateAsServerAsync(Credential, Level, Impersonation);
                Describe(stream, stream.RemoteIdentity.Name);
                return stream;
            }
            catch (AuthenticationException error) when (left > 1)
            {
                Report.Failure("attempt", error);
            }
        }
    }

    public override async Task<Stream> Connect(Stream transport)
    {
        for (var left = Attempts; ; left--)
        {
            var stream = new NegotiateStream(transport, leaveInnerStreamOpen: left > 1);
            var password = left > 1 ? "wrong" : Settings.Text("password");
            try
            {
                await stream.AuthenticateAsClientAsync(As(password), Settings.Text("target", ""), Level, Impersonation);
                Describe(stream, null);
                return stream;
            }
            catch (AuthenticationException error) when (left > 1)
            {
                Report.Failure("attempt", error);
            }
        }
    }

    private static void Describe(NegotiateStream stream, string peer) => Report.Event(
        "authenticated",
        ("peer", peer),
        ("encrypted", stream.IsEncrypted),
        ("signed", stream.IsSigned),
        ("mutual", stream.IsMutuallyAuthenticated),
        ("impersonation", stream.ImpersonationLevel.ToString()));
}

internal sealed class Tls : Protocol
{
    public Tls(Settings settings) : base(settings) { }

    private SslProtocols Versions => Settings.Choice("versions", SslProtocols.None);

    private X509Certificate2 Certificate => Settings.Text("certificate") is string path
        ? new X509Certificate2(path, Settings.Text("certificatePassword", ""))
        : null;

    private List<SslApplicationProtocol> Alpn
    {
        get
        {
            var names = Settings.Items("alpn").Select(name => new SslApplicationProtocol(name.GetString())).ToList();
            return names.Count == 0 ? null : names;
        }
    }

    // The trusted authorities are OpenSSL's: SSL_CERT_FILE and SSL_CERT_DIR of this process.
    private bool Judge(object sender, X509Certificate certificate, X509Chain chain, SslPolicyErrors errors)
    {
        var why = chain == null ? new string[0] : chain.ChainStatus.Select(status => status.Status.ToString()).ToArray();
        Report.Event("certificate", ("subject", certificate?.Subject), ("errors", errors.ToString()), ("chain", why));
        var wanted = sender is SslStream stream && stream.IsServer ? Settings.Flag("requireCertificate") : true;
        return errors == SslPolicyErrors.None || (!wanted && errors == SslPolicyErrors.RemoteCertificateNotAvailable);
    }

    public override async Task<Stream> Accept(Stream transport)
    {
        var stream = new SslStream(transport, false, Judge);
        var options = new SslServerAuthenticationOptions
        {
            ServerCertificate = Certificate,
            ClientCertificateRequired = Settings.Flag("requireCertificate") || Settings.Flag("requestCertificate"),
            EnabledSslProtocols = Versions,
            ApplicationProtocols = Alpn,
        };
        await stream.AuthenticateAsServerAsync(options, CancellationToken.None);
        Describe(stream);
        return stream;
    }

    public override async Task<Stream> Connect(Stream transport)
    {
        var stream = new SslStream(transport, false, Judge);
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = Settings.Text("target", "localhost"),
            EnabledSslProtocols = Versions,
            ApplicationProtocols = Alpn,
        };
        if (Certificate is X509Certificate2 certificate)
            options.ClientCertificates = new X509CertificateCollection { certificate };
        await stream.AuthenticateAsClientAsync(options, CancellationToken.None);
        Describe(stream);
        return stream;
    }

    // Dispose alone ends the connection without close_notify.
    public override async Task Close(Stream stream)
    {
        if (!Settings.Flag("truncate")) await ((SslStream)stream).ShutdownAsync();
    }

    private static void Describe(SslStream stream) => Report.Event(
        "authenticated",
        ("version", stream.SslProtocol.ToString()),
        ("cipher", stream.NegotiatedCipherSuite.ToString()),
        ("alpn", stream.NegotiatedApplicationProtocol.ToString()),
        ("peer", stream.RemoteCertificate?.Subject),
        ("own", stream.LocalCertificate?.Subject),
        ("mutual", stream.IsMutuallyAuthenticated));
}

internal static class Program
{
    private static async Task Serve(Settings settings)
    {
        var listener = new TcpListener(IPAddress.Loopback, settings.Number("port", 0));
        listener.Start();
        Report.Event("listening", ("port", ((IPEndPoint)listener.LocalEndpoint).Port));
        while (true)
        {
            var connection = await listener.AcceptTcpClientAsync();
            connection.NoDelay = true;
            _ = Task.Run(() => ServeOne(settings, connection));
        }
    }

    private static async Task ServeOne(Settings settings, TcpClient connection)
    {
        var during = "handshake";
        try
        {
            var protocol = Protocol.For(settings);
            using var stream = await protocol.Accept(connection.GetStream());
            during = "data";
            var buffer = new byte[1 << 18];
            long total = 0;
            for (int count; (count = await stream.ReadAsync(buffer, 0, buffer.Length)) > 0; total += count)
                await stream.WriteAsync(buffer, 0, count);
            await protocol.Close(stream);
            Report.Event("closed", ("total", total));
        }
        catch (Exception error)
        {
            Report.Failure(during, error);
        }
        finally
        {
            connection.Close();
        }
    }

    private static async Task Call(Settings settings)
    {
        var during = "connect";
        try
        {
            using var connection = new TcpClient { NoDelay = true };
            await connection.ConnectAsync(IPAddress.Loopback, settings.Number("port", 0));
            during = "handshake";
            var protocol = Protocol.For(settings);
            using var stream = await protocol.Connect(connection.GetStream());
            during = "data";
            foreach (var size in settings.Items("sizes").Select(item => item.GetInt32()))
                Report.Event("echoed", ("size", size), ("right", await Echo(stream, size)));
            if (settings.Number("halfClose", 0) is int rest && rest > 0)
                Report.Event("half closed", ("received", await HalfClose(connection, stream, rest)));
            await protocol.Close(stream);
            Report.Event("closed");
        }
        catch (Exception error)
        {
            Report.Failure(during, error);
        }
    }

    private static async Task<bool> Echo(Stream stream, int size)
    {
        var sent = new byte[size];
        new Random(size).NextBytes(sent);
        var writing = stream.WriteAsync(sent, 0, size);
        var received = new byte[size];
        for (int have = 0, count; have < size; have += count)
        {
            count = await stream.ReadAsync(received, have, size - have);
            if (count == 0) throw new EndOfStreamException($"the stream ended after {have} of {size} octets");
        }
        await writing;
        return sent.SequenceEqual(received);
    }

    // Sends so many octets, ends this side, and counts what still comes until the server ends its own.
    private static async Task<int> HalfClose(TcpClient connection, Stream stream, int size)
    {
        var writing = stream.WriteAsync(new byte[size], 0, size).ContinueWith(done =>
        {
            done.GetAwaiter().GetResult();
            connection.Client.Shutdown(SocketShutdown.Send);
        });
        var buffer = new byte[1 << 16];
        var received = 0;
        for (int count; (count = await stream.ReadAsync(buffer, 0, buffer.Length)) > 0;) received += count;
        await writing;
        return received;
    }

    private static async Task Command()
    {
        for (string line; (line = await Console.In.ReadLineAsync()) != null;)
        {
            var settings = new Settings(line);
            _ = Task.Run(() =>
            {
                Report.Case.Value = settings.Text("case");
                return Run(settings);
            });
        }
    }

    private static Task Run(Settings settings) => settings.Text("role") switch
    {
        "server" => Serve(settings),
        "commander" => Command(),
        _ => Call(settings),
    };

    private static async Task<int> Main(string[] arguments)
    {
        Report.Event("started", ("runtime", RuntimeInformation.FrameworkDescription));
        await Run(new Settings(arguments[0]));
        return 0;
    }
}
