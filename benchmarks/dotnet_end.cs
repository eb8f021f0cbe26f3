// One end of .NET's own NegotiateStream on loopback, for measuring:
//
//   server WORK AMOUNT                                            prints its port, and at the end its figures
//   client WORK AMOUNT PORT TARGET [USER PASSWORD DOMAIN]
//
// The writes and the figures are those of ends.py. Without a user the credentials are those of the environment.
// Compiled as C# 8 against the assemblies of .NET Core 3.1, run by .NET 8.

using System;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Principal;
using System.Threading.Tasks;

internal static class Program
{
    private const int Write = 65536;
    private const int Ping = 100;

    private static readonly byte[] Buffer = new byte[1 << 18];

    private const int ProcessClock = 2; // CLOCK_PROCESS_CPUTIME_ID; what .NET itself offers counts in hundredths

    private static double cpu;
    private static Stopwatch wall;

    [StructLayout(LayoutKind.Sequential)]
    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    [DllImport("libc", EntryPoint = "clock_gettime")]
    private static extern int ClockGetTime(int clock, out TimeSpec now);

    private static double Cpu()
    {
        if (ClockGetTime(ProcessClock, out var now) != 0) throw new InvalidOperationException("no CPU time");
        return now.Seconds + now.Nanoseconds / 1e9;
    }

    private static void Start()
    {
        cpu = Cpu();
        wall = Stopwatch.StartNew();
    }

    private static void Stop()
    {
        var passed = wall.Elapsed.TotalSeconds;
        var spent = Cpu() - cpu;
        Console.WriteLine(string.Format(CultureInfo.InvariantCulture, "{{\"wall\": {0}, \"cpu\": {1}}}", passed, spent));
        Console.Out.Flush();
        Environment.Exit(0);
    }

    private static async Task Receive(NegotiateStream stream, long size)
    {
        while (size > 0)
        {
            var count = await stream.ReadAsync(Buffer, 0, Buffer.Length);
            if (count == 0) throw new InvalidOperationException("the other end is gone");
            size -= count;
        }
    }

    private static Task Send(NegotiateStream stream, byte[] data) => stream.WriteAsync(data, 0, data.Length);

    private static async Task Bulk(NegotiateStream stream, long amount, bool client)
    {
        if (client)
        {
            var data = new byte[Write];
            await Receive(stream, 1);
            Start();
            for (var number = amount / Write; number > 0; number--) await Send(stream, data);
            await Receive(stream, 1);
        }
        else
        {
            await Send(stream, new byte[1]);
            Start();
            await Receive(stream, amount);
            await Send(stream, new byte[1]);
        }
        Stop();
    }

    private static async Task Exchange(NegotiateStream stream, long times, bool client)
    {
        var data = new byte[Ping];
        for (; times > 0; times--)
        {
            if (client) await Send(stream, data);
            await Receive(stream, Ping);
            if (!client) await Send(stream, data);
        }
    }

    private static async Task<int> Main(string[] arguments)
    {
        var client = arguments[0] == "client";
        var amount = long.Parse(arguments[2], CultureInfo.InvariantCulture);
        NegotiateStream stream;
        if (client)
        {
            var connection = new TcpClient { NoDelay = true };
            await connection.ConnectAsync(IPAddress.Loopback, int.Parse(arguments[3], CultureInfo.InvariantCulture));
            stream = new NegotiateStream(connection.GetStream());
            var credential = arguments.Length > 5
                ? new NetworkCredential(arguments[5], arguments[6], arguments[7])
                : CredentialCache.DefaultNetworkCredentials;
            await stream.AuthenticateAsClientAsync(
                credential, arguments[4], ProtectionLevel.EncryptAndSign, TokenImpersonationLevel.Identification);
        }
        else
        {
            var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            Console.WriteLine(((IPEndPoint)listener.LocalEndpoint).Port);
            Console.Out.Flush();
            var connection = await listener.AcceptTcpClientAsync();
            connection.NoDelay = true;
            stream = new NegotiateStream(connection.GetStream());
            await stream.AuthenticateAsServerAsync(
                CredentialCache.DefaultNetworkCredentials,
                ProtectionLevel.EncryptAndSign,
                TokenImpersonationLevel.Identification);
        }
        if (arguments[1] == "bulk")
        {
            await Bulk(stream, amount, client);
        }
        else
        {
            await Exchange(stream, 50, client);
            Start();
            await Exchange(stream, amount, client);
            Stop();
        }
        return 0;
    }
}
